"""The yardstick: the same formulas and weights in plain eager PyTorch.

Attention matrices are materialised in every block, search frames of a clip go through the backbone one
by one, masks are painted token by token, the template's memory is encoded anew for each early frame,
the bank is concatenated whenever it grows, and its read-out is one matrix of all distances.
Shapes as in trackline.models.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trackline.boxes import cxcywh_to_xyxy, xywh_to_xyxy
from trackline.models.backbone import Backbone, Features
from trackline.models.history import HistoryBranch, Memory
from trackline.models.network import Network, Prediction, to_grid
from trackline.tracking.tracker import Tracker


def make_eager(network: Network) -> EagerNetwork:
    """A copy of a network whose parts compute in the plain way."""
    eager = copy.deepcopy(network)
    eager.backbone.__class__ = EagerBackbone
    eager.history.__class__ = EagerHistory
    eager.__class__ = EagerNetwork
    assert isinstance(eager, EagerNetwork)
    return eager


class EagerBackbone(Backbone):
    """Every block keeps its matrix of attention; elimination ranks by the whole of it."""

    def forward(
        self,
        template_bchw: Tensor,
        search_bchw: Tensor,
        rows_bz: Tensor | None = None,
        keep: float | None = None,
    ) -> Features:
        """As the fused backbone."""
        tokens = self._embed(template_bchw, search_bchw)
        ids = torch.arange(self.grid_x**2, device=tokens.device).expand(len(tokens), -1)
        survivors: list[Tensor] = []
        ratios = dict(zip(self.elimination.layers, self.elimination.keep, strict=True))
        for i, block in enumerate(self.blocks):
            ratio = 1.0 if i not in ratios else ratios[i] if keep is None else keep
            tokens, ids = self._run(block, tokens, ids, ratio)
            if ratio < 1:
                survivors.append(ids)
        return self._restore(self.norm(tokens), ids, tuple(survivors))

    def _run(self, block: Any, tokens: Tensor, ids: Tensor, ratio: float) -> tuple[Tensor, Tensor]:
        b, n, c = tokens.shape
        z, attn = self.grid_z**2, block.attn
        qkv = attn.qkv(block.norm1(tokens)).view(b, n, 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1)
        mixed = attn.proj((weights @ v).transpose(1, 2).reshape(b, n, c))
        tokens = tokens + block.drop_path1(mixed)
        if ratio < 1:
            middle = (self.grid_z - 1) // 2
            row = weights[:, :, middle * self.grid_z + middle, z:].mean(dim=1)
            order = row.sort(dim=1, descending=True).indices[:, : math.ceil(ratio * ids.shape[1])]
            kept = tokens[:, z:].gather(1, order[..., None].expand(-1, -1, c))
            tokens, ids = torch.cat((tokens[:, :z], kept), dim=1), ids.gather(1, order)
        return tokens + block.drop_path2(block.mlp(block.norm2(tokens))), ids


class EagerHistory(HistoryBranch):
    """The read-out as STCN has it: all affinities, a softmax by hand, their product with the values."""

    def read(
        self,
        features_bcgg: Tensor,
        keys_bmk: Tensor,
        values_bmv: Tensor,
        valid_bm: Tensor | None = None,
    ) -> Tensor:
        """As the fused read-out; all positions must be valid."""
        assert valid_bm is None
        query_bkq = self.to_key(features_bcgg).flatten(2)
        energy = keys_bmk.pow(2).sum(-1, keepdim=True)
        affinity = (2 * (keys_bmk @ query_bkq) - energy) / math.sqrt(query_bkq.shape[1])
        weights = torch.exp(affinity - affinity.max(dim=1, keepdim=True).values)
        weights = weights / weights.sum(dim=1, keepdim=True)
        read = torch.bmm(values_bmv.transpose(1, 2), weights).unflatten(2, features_bcgg.shape[-2:])
        prompt = torch.cat((read, self.to_thin(features_bcgg)), dim=1)
        fused: Tensor = self.fuse(features_bcgg + prompt)
        return fused


class EagerNetwork(Network):
    """One search frame after the other, masks token by token."""

    def forward(
        self,
        template_b3hw: Tensor,
        template_box_xywh: Tensor,
        searches_bt3hw: Tensor,
        keep: float | None = None,
        targets_xywh: Tensor | None = None,
    ) -> list[Prediction]:
        """As the batched network where that is not told the true boxes."""
        assert targets_xywh is None
        keys: Tensor | None = None
        values: Tensor | None = None
        predictions: list[Prediction] = []
        t = searches_bt3hw.shape[1]
        for i in range(t):
            frame = self.backbone(template_b3hw, searches_bt3hw[:, i], None, keep)
            if keys is None or values is None:
                look = self.look_at_template(template_b3hw, template_box_xywh)
                said = self.predict(frame, *self.write_template_stem(look, frame.template_bzc))
            else:
                said = self.predict(frame, keys, values)
            predictions.append(said)
            if i < t - 1:
                entry = self.write_frame(searches_bt3hw[:, i], frame, said.boxes_cxcywh.detach())
                held = (keys, values)
                keys, values = (
                    new if old is None else torch.cat((old, new), dim=1)
                    for old, new in zip(held, entry, strict=True)
                )
        return predictions

    def look_at_template(self, template_b3hw: Tensor, box_xywh: Tensor) -> Tensor:
        """The enlarged template and its mask [b, 4, side, side]: its stem is not kept."""
        size = self.config.search.size
        image = F.interpolate(template_b3hw, (size, size), mode="bilinear", align_corners=True)
        mask = paint_token_by_token(xywh_to_xyxy(box_xywh * size), None, size)
        return torch.cat((image, mask[:, None]), dim=1)

    def write_template_stem(self, stem: Tensor, template_bzc: Tensor) -> tuple[Tensor, Tensor]:
        """The template's entry, encoded from its pixels."""
        looked = self.history.encoder.look(stem[:, :3], stem[:, 3])
        return super().write_template_stem(looked, template_bzc)

    def write_frame(
        self, search_b3hw: Tensor, features: Features, boxes_cxcywh: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As the network, with the mask painted in Python."""
        size = self.config.search.size
        boxes = cxcywh_to_xyxy(boxes_cxcywh) * size
        mask = paint_token_by_token(boxes, features.alive_bx, size)
        return self.history.write(search_b3hw, to_grid(features.search_bxc), mask)


def paint_token_by_token(box_xyxy: Tensor, alive_bx: Tensor | None, size: int) -> Tensor:
    """Paint boxes, then wipe out the cell of each eliminated token, one after the other."""
    mask = box_xyxy.new_zeros(len(box_xyxy), size, size)
    for i in range(len(box_xyxy)):
        x1, y1, x2, y2 = (min(max(int(v.item()), 0), size) for v in box_xyxy[i])
        mask[i, y1:y2, x1:x2] = 1
        if alive_bx is not None:
            side = math.isqrt(alive_bx.shape[1])
            step = size // side
            for token in (~alive_bx[i]).nonzero()[:, 0]:
                row, column = int(token.item()) // side, int(token.item()) % side
                mask[i, row * step : (row + 1) * step, column * step : (column + 1) * step] = 0
    return mask


class EagerMemory(Memory):
    """One tensor for a stream, concatenated at each write; the oldest entry is cut off."""

    def __init__(self, capacity: int, positions: int) -> None:
        self.capacity, self.positions, self.written = capacity, positions, [0]
        self.bank: tuple[Tensor, Tensor] | None = None

    def write(self, streams: list[int], keys_bqk: Tensor, values_bqv: Tensor) -> None:
        """Append an entry."""
        entry, room = (keys_bqk, values_bqv), self.capacity * self.positions
        if self.bank is not None:
            both = zip(self.bank, entry, strict=True)
            entry = tuple(torch.cat(pair, dim=1)[:, -room:] for pair in both)  # type: ignore[assignment]
        self.bank = entry
        self.written[0] += 1

    def entries(self, streams: list[int]) -> tuple[Tensor, Tensor, Tensor | None]:
        """All that is held."""
        assert self.bank is not None
        return *self.bank, None


def make_eager_tracker(tracker: Tracker) -> Tracker:
    """A single-stream tracker of the same weights in the plain way."""
    eager = Tracker(make_eager(tracker.network), tracker.track)
    capacity, positions = tracker.memory.keys.shape[1:3]
    eager.memory = EagerMemory(capacity, positions)
    return eager
