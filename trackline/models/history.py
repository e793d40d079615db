"""The history branch: what earlier frames say about where the target is (HIPTrack, CVPR 2024).

A prompt encoder turns a frame, its mask and its features into memory values; keys of the memory are
compared with those of the current frame, as in STCN (Cheng et al., NeurIPS 2021). Shapes: b batch,
g side of the feature grid, k key width, v value width, c backbone width, m memory positions,
q query positions.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trackline.config import Model

CHUNK = 1024  # memory positions that are read at once on a CPU: their weights stay in its cache


class HistoryBranch(nn.Module):
    """Writes frames into memory entries, reads them back as prompts, and mixes prompts in."""

    def __init__(self, config: Model) -> None:
        super().__init__()
        width, value = config.backbone.width, config.backbone.width // 2
        self.encoder = PromptEncoder(width, value, config.history.stem_width, config.backbone.patch)
        self.to_key = _conv3(width, config.history.key_width)
        self.to_thin = _conv3(width, value)
        self.fuse = ResBlock(width, width)
        nn.init.orthogonal_(self.to_key.weight)
        nn.init.constant_(self.to_key.get_parameter("bias"), 0)

    def start_silent(self) -> None:
        """Let memory values and prompts be zero: search features pass unchanged until this is trained."""
        encoder = self.encoder
        last = (encoder.block1.conv2, encoder.block1.shortcut, encoder.block2.conv2)
        for module in (*last, self.to_thin, self.fuse.conv2):
            for parameter in module.parameters():
                nn.init.zeros_(parameter)

    def write(
        self, image_bchw: Tensor, features_bcgg: Tensor, mask_bhw: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Make one memory entry: keys [b, g·g, k] and values [b, g·g, v]."""
        return self.write_stem(self.encoder.look(image_bchw, mask_bhw), features_bcgg)

    def write_stem(self, stem_bsgg: Tensor, features_bcgg: Tensor) -> tuple[Tensor, Tensor]:
        """Make one memory entry from an image whose stem features are known already."""
        value_bvgg = self.encoder.mix(stem_bsgg, features_bcgg)
        return _flatten(self.to_key(features_bcgg)), _flatten(value_bvgg)

    def read(
        self,
        features_bcgg: Tensor,
        keys_bmk: Tensor,
        values_bmv: Tensor,
        valid_bm: Tensor | None = None,
    ) -> Tensor:
        """Enhance search features with what the memory says; same shape as `features_bcgg`."""
        query_bqk = _flatten(self.to_key(features_bcgg))
        read_bqv = read_memory(query_bqk, keys_bmk, values_bmv, valid_bm)
        read_bvgg = read_bqv.transpose(1, 2).unflatten(2, features_bcgg.shape[-2:])
        prompt_bcgg = torch.cat((read_bvgg, self.to_thin(features_bcgg)), dim=1)
        enhanced: Tensor = self.fuse(features_bcgg + prompt_bcgg)
        return enhanced


def read_memory(
    query_bqk: Tensor, keys_bmk: Tensor, values_bmv: Tensor, valid_bm: Tensor | None = None
) -> Tensor:
    """Read [b, q, v]: softmax over all positions of −‖key − query‖²/√k, as one fused attention.

    −‖a − b‖² = 2a·b − ‖a‖² + const(b): one extra channel carries −‖key‖²/2, so that no q×m matrix
    of distances is made.
    """
    k = query_bqk.shape[-1]
    on_cpu = query_bqk.device.type == "cpu"
    if on_cpu and keys_bmk.shape[1] > CHUNK and not torch.is_grad_enabled():
        return _read_in_chunks(query_bqk, keys_bmk, values_bmv, valid_bm)
    query = torch.cat((query_bqk, torch.ones_like(query_bqk[..., :1])), dim=-1)
    energy_bm1 = keys_bmk.square().sum(dim=-1, keepdim=True) / -2
    key = torch.cat((keys_bmk, energy_bm1), dim=-1)
    mask = None if valid_bm is None else valid_bm[:, None, None]
    read = F.scaled_dot_product_attention(
        query[:, None], key[:, None], values_bmv[:, None], attn_mask=mask, scale=2 / math.sqrt(k)
    )
    return read[:, 0]


def _read_in_chunks(
    query_bqk: Tensor, keys_bmk: Tensor, values_bmv: Tensor, valid_bm: Tensor | None
) -> Tensor:
    """The same with a running softmax over chunks that stay in the cache (Milakov & Gimelshein, 2018).

    torch's fused attention for CPUs wants keys and values of one width, and else makes the matrix.
    """
    scale = query_bqk.shape[-1] ** -0.5
    best_bq1 = torch.full_like(query_bqk[..., :1], -math.inf)
    total_bq1 = torch.zeros_like(best_bq1)
    read_bqv = values_bmv.new_zeros(*query_bqk.shape[:2], values_bmv.shape[-1])
    for start in range(0, keys_bmk.shape[1], CHUNK):
        part = slice(start, start + CHUNK)
        key_bmk, value_bmv = keys_bmk[:, part], values_bmv[:, part]
        energy_b1m = key_bmk.square().sum(-1)[:, None]
        logits = torch.baddbmm(energy_b1m, query_bqk, key_bmk.mT, beta=-scale, alpha=2 * scale)
        if valid_bm is not None:  # the first entry of a stream always is
            logits.masked_fill_(~valid_bm[:, None, part], -math.inf)
        peak_bq1 = torch.maximum(best_bq1, logits.amax(-1, keepdim=True))
        weights = logits.sub_(peak_bq1).exp_()
        shrink_bq1 = (best_bq1 - peak_bq1).exp_()
        total_bq1 = total_bq1 * shrink_bq1 + weights.sum(-1, keepdim=True)
        read_bqv = torch.baddbmm(read_bqv.mul_(shrink_bq1), weights, value_bmv)
        best_bq1 = peak_bq1
    return read_bqv / total_bq1


class Memory:
    """A preallocated ring of memory entries for several streams; the oldest entry is overwritten."""

    def __init__(
        self, streams: int, capacity: int, positions: int, key: int, value: int, like: Tensor
    ) -> None:
        self.keys = like.new_zeros(streams, capacity, positions, key)
        self.values = like.new_zeros(streams, capacity, positions, value)
        self.written = [0] * streams  # on the host: the schedule decides it, not the data

    def reset(self, stream: int) -> None:
        """Forget all that one stream has seen."""
        self.written[stream] = 0

    def write(self, streams: list[int], keys_bqk: Tensor, values_bqv: Tensor) -> None:
        """Append one entry to each of the streams named."""
        places = [self.written[s] % self.keys.shape[1] for s in streams]
        self.keys[streams, places] = keys_bqk.to(self.keys)
        self.values[streams, places] = values_bqv.to(self.values)
        for s in streams:
            self.written[s] += 1

    def entries(self, streams: list[int]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Keys [b, m, k], values [b, m, v] and, where streams hold unlike numbers, which are valid."""
        held = [min(self.written[s], self.keys.shape[1]) for s in streams]
        most, positions = max(held), self.keys.shape[2]
        whole = streams == list(range(streams[0], streams[0] + len(streams)))
        rows = slice(streams[0], streams[0] + len(streams)) if whole else streams  # no copy of all
        keys, values = (part[rows, :most].flatten(1, 2) for part in (self.keys, self.values))
        if min(held) == most:
            return keys, values, None
        valid = torch.arange(most)[None] < torch.tensor(held)[:, None]
        return keys, values, valid.repeat_interleave(positions, dim=1).to(keys.device)


def paint_mask(box_xyxy: Tensor, alive_bx: Tensor | None, size: int, compat: bool) -> Tensor:
    """Paint boxes [b, 4] (pixels) on a mask [b, size, size], leaving out eliminated cells.

    `compat` keeps the reference's one-sided clamps: a box across the top edge gives an empty mask,
    one left of the crop a wrong large one.
    """
    x1, y1, x2, y2 = box_xyxy.trunc().unbind(-1)
    if compat:
        x1, x2 = x1.clamp(min=0), _from_end(x2.clamp(max=size), size)
        y1, y2 = _from_end(y1.clamp(max=size), size), y2.clamp(min=0)
    steps = torch.arange(size, device=box_xyxy.device)
    columns = (steps >= x1[:, None]) & (steps < x2[:, None])
    rows = (steps >= y1[:, None]) & (steps < y2[:, None])
    mask_bhw = rows[:, :, None] & columns[:, None, :]
    if alive_bx is not None:
        side = math.isqrt(alive_bx.shape[1])
        cells = alive_bx.view(-1, side, side).repeat_interleave(size // side, dim=1)
        mask_bhw = mask_bhw & cells.repeat_interleave(size // side, dim=2)
    return mask_bhw.to(box_xyxy)


def _from_end(edge: Tensor, size: int) -> Tensor:
    """A negative slice bound counts from the end, as Python's slices do."""
    return torch.where(edge < 0, (edge + size).clamp(min=0), edge)


class PromptEncoder(nn.Module):
    """Encode an image, a mask and the backbone's features into memory values."""

    def __init__(self, width: int, value: int, stem_width: int, patch: int) -> None:
        super().__init__()
        doublings = max(1, round(math.log2(patch / 4)))
        self.conv1 = nn.Conv2d(4, stem_width, 7, stride=2, padding=3)
        self.bn1 = nn.BatchNorm2d(stem_width)
        widths = [stem_width * 2**i for i in range(doublings + 1)]
        self.layers = nn.Sequential(
            _make_layer(stem_width, stem_width, 1),
            *(_make_layer(a, b, 2) for a, b in pairwise(widths)),
        )
        self.block1 = ResBlock(widths[-1] + width, value)
        self.attention = Cbam(value)
        self.block2 = ResBlock(value, value)
        for module in self.layers.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def look(self, image_bchw: Tensor, mask_bhw: Tensor) -> Tensor:
        """Stem features of an image and its mask, at about 1/patch of their side."""
        x = torch.cat((image_bchw, mask_bhw[:, None].to(image_bchw)), dim=1)
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        stem: Tensor = self.layers(x)
        return stem

    def mix(self, stem_bsgg: Tensor, features_bcgg: Tensor) -> Tensor:
        """Memory values [b, v, g, g] of stem features joined with the backbone's."""
        grid = features_bcgg.shape[-2:]
        if stem_bsgg.shape[-2:] != grid:  # patches that are no power of two
            stem_bsgg = F.interpolate(stem_bsgg, grid, mode="bilinear", align_corners=False)
        x = self.block1(torch.cat((stem_bsgg, features_bcgg), dim=1))
        values: Tensor = self.block2(x + self.attention(x))
        return values


class ResBlock(nn.Module):
    """Residual block without normalisation, as in STM (Oh et al., ICCV 2019)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.shortcut = nn.Identity() if inputs == outputs else _conv3(inputs, outputs)
        self.conv1, self.conv2 = _conv3(inputs, outputs), _conv3(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        shortcut: Tensor = self.shortcut(x)
        residual: Tensor = self.conv2(F.relu(self.conv1(F.relu(x))))
        return shortcut + residual


class BasicBlock(nn.Module):
    """ResNet's basic block (He et al., CVPR 2016), convolutions with bias."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv3(inputs, outputs, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = _conv3(outputs, outputs), nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        summed: Tensor = self.bn2(self.conv2(y)) + self.shortcut(x)
        return summed.relu()


class Cbam(nn.Module):
    """Channel gate, then spatial gate (Woo et al., ECCV 2018)."""

    def __init__(self, width: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, width // reduction)
        self.channel = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))
        self.spatial = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x_bvgg: Tensor) -> Tensor:
        gate_bv = self.channel(x_bvgg.mean((2, 3))) + self.channel(x_bvgg.amax((2, 3)))
        x_bvgg = x_bvgg * gate_bv.sigmoid()[:, :, None, None]
        summary = torch.stack((x_bvgg.amax(1), x_bvgg.mean(1)), dim=1)
        gated: Tensor = x_bvgg * self.spatial(summary).sigmoid()
        return gated


def _make_layer(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(BasicBlock(inputs, outputs, stride), BasicBlock(outputs, outputs, 1))


def _conv3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)


def _flatten(x_bcgg: Tensor) -> Tensor:
    return x_bcgg.flatten(2).transpose(1, 2)
