"""The shared ViT: template and search tokens in one sequence, with candidate elimination.

Joint tokens and candidate elimination: Ye et al., OSTrack, ECCV 2022, section 3. The patch embedding
and the blocks are timm's. Shapes: b batch, z template tokens, x search tokens, n tokens left,
h heads, c width, d width of one head.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from timm.layers import PatchEmbed, build_sincos2d_pos_embed
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trackline.config import Backbone as BackboneConfig
from trackline.config import Model


class Features(NamedTuple):
    """What the backbone makes of a template and a search region."""

    template_bzc: Tensor
    search_bxc: Tensor  # exact zeros where a token was eliminated
    alive_bx: Tensor  # bool: the token survived
    survivors: tuple[Tensor, ...]  # ids of the search tokens left after each elimination, [b, n]

    def take(self, rows: slice | list[int]) -> Features:
        """The same for some samples of the batch."""
        parts = (self.template_bzc[rows], self.search_bxc[rows], self.alive_bx[rows])
        return Features(*parts, tuple(ids[rows] for ids in self.survivors))


class Backbone(nn.Module):
    """One ViT for both images; works for any patch, width and pair of sizes that params allow."""

    def __init__(self, config: Model) -> None:
        super().__init__()
        vit, patch = config.backbone, config.backbone.patch
        self.elimination = config.elimination
        self.grid_z, self.grid_x = config.template.size // patch, config.search.size // patch
        self.patch_embed = _make_embedding(vit)
        self.pos_embed_z = nn.Parameter(torch.empty(1, self.grid_z**2, vit.width))
        self.pos_embed_x = nn.Parameter(torch.empty(1, self.grid_x**2, vit.width))
        self.temporal = vit.temporal
        if vit.temporal:  # inherited from DropMAE (Wu et al., CVPR 2023)
            self.temporal_z = nn.Parameter(torch.randn(1, 1, vit.width) / 2)
            self.temporal_x = nn.Parameter(torch.randn(1, 1, vit.width) / 2)
        norm = partial(nn.LayerNorm, eps=1e-6)
        drops = torch.linspace(0, vit.drop_path, vit.depth).tolist()
        self.blocks = nn.ModuleList(
            Block(vit.width, vit.heads, qkv_bias=True, drop_path=drop, norm_layer=norm)
            for drop in drops
        )
        self.norm = norm(vit.width)
        self.recompute = False  # in the backward pass: less memory for more time
        self.apply(_initialise)
        for embed, grid in ((self.pos_embed_z, self.grid_z), (self.pos_embed_x, self.grid_x)):
            waves = build_sincos2d_pos_embed([grid, grid], vit.width // 4 * 4 or 4)
            embed.data[0] = 0.3 * F.pad(waves, (0, vit.width - waves.shape[1]))
        for block in self.blocks:
            _start_as_similarity(block.get_parameter("attn.qkv.weight"))

    def forward(
        self,
        template_bchw: Tensor,
        search_bchw: Tensor,
        rows_bz: Tensor | None = None,
        keep: float | None = None,
    ) -> Features:
        """Encode templates [b, 3, h, w] and search regions [b·t, 3, h, w], t in turn for each template.

        `rows_bz` (bool) marks the template tokens that rank candidates, needed where
        elimination.rows is "box"; `keep` overrides the ratio of every elimination layer.
        """
        tokens_bnc = self._embed(template_bchw, search_bchw)
        ids_bn = torch.arange(self.grid_x**2, device=tokens_bnc.device).expand(len(tokens_bnc), -1)
        survivors: list[Tensor] = []
        ratios = dict(zip(self.elimination.layers, self.elimination.keep, strict=True))
        run = partial(checkpoint, use_reentrant=False) if self.recompute else _call
        for i, block in enumerate(self.blocks):
            ratio = 1.0 if i not in ratios else ratios[i] if keep is None else keep
            if ratio == 1:
                tokens_bnc = run(block, tokens_bnc)
                continue
            tokens_bnc, ids_bn = run(self._eliminate, block, tokens_bnc, ids_bn, ratio, rows_bz)
            survivors.append(ids_bn)
        return self._restore(self.norm(tokens_bnc), ids_bn, tuple(survivors))

    def _embed(self, template_bchw: Tensor, search_bchw: Tensor) -> Tensor:
        times = len(search_bchw) // len(template_bchw)
        tokens_bzc = self.patch_embed(template_bchw).repeat_interleave(times, dim=0)
        tokens_bzc = tokens_bzc + self.pos_embed_z
        tokens_bxc = self.patch_embed(search_bchw) + self.pos_embed_x
        if self.temporal:
            tokens_bzc, tokens_bxc = tokens_bzc + self.temporal_z, tokens_bxc + self.temporal_x
        return torch.cat((tokens_bzc, tokens_bxc), dim=1)

    def _eliminate(
        self, block: Any, tokens_bnc: Tensor, ids_bn: Tensor, ratio: float, rows_bz: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Run one block that drops the search tokens the template attends to least."""
        n_template = self.grid_z**2
        mixed_bnc, scores_bn = self._attend(block.attn, block.norm1(tokens_bnc), rows_bz)
        tokens_bnc = tokens_bnc + block.drop_path1(mixed_bnc)
        kept = math.ceil(ratio * ids_bn.shape[1])
        order_bn = scores_bn.topk(kept, dim=1).indices
        search_bnc = _gather(tokens_bnc[:, n_template:], order_bn)
        tokens_bnc = torch.cat((tokens_bnc[:, :n_template], search_bnc), dim=1)
        tokens_bnc = tokens_bnc + block.drop_path2(block.mlp(block.norm2(tokens_bnc)))
        return tokens_bnc, ids_bn.gather(1, order_bn)

    def _attend(self, attn: Any, x_bnc: Tensor, rows_bz: Tensor | None) -> tuple[Tensor, Tensor]:
        """Fused attention, and beside it only the rows of the matrix that rank candidates."""
        b, n, c = x_bnc.shape
        qkv = attn.qkv(x_bnc).view(b, n, 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4)
        q_bhnd, k_bhnd, v_bhnd = qkv.unbind(0)
        mixed = F.scaled_dot_product_attention(q_bhnd, k_bhnd, v_bhnd)
        mixed_bnc = attn.proj(mixed.transpose(1, 2).reshape(b, n, c))
        with torch.no_grad():
            return mixed_bnc, self._rank(q_bhnd.detach(), k_bhnd.detach(), rows_bz)

    def _rank(self, q_bhnd: Tensor, k_bhnd: Tensor, rows_bz: Tensor | None) -> Tensor:
        n_template = self.grid_z**2
        rows = template_rows(self.elimination.rows, self.grid_z)
        q = q_bhnd[:, :, :n_template] if rows is None else q_bhnd[:, :, rows]
        logits = q @ k_bhnd.transpose(-2, -1) * q.shape[-1] ** -0.5
        weights: Tensor = logits.softmax(dim=-1)[..., n_template:].mean(dim=1)
        if rows is not None or rows_bz is None:
            return weights.mean(dim=1)
        share_bz = rows_bz.to(weights) / rows_bz.sum(dim=1, keepdim=True)
        return torch.einsum("bzx,bz->bx", weights, share_bz)

    def _restore(
        self, tokens_bnc: Tensor, ids_bn: Tensor, survivors: tuple[Tensor, ...]
    ) -> Features:
        """Put the survivors back on their grid; what was eliminated stays zero."""
        template_bzc, search_bnc = tokens_bnc.split((self.grid_z**2, ids_bn.shape[1]), dim=1)
        b, _, c = search_bnc.shape
        if not survivors:
            alive_bx = torch.ones_like(ids_bn, dtype=torch.bool)
            return Features(template_bzc, search_bnc, alive_bx, survivors)
        search_bxc = search_bnc.new_zeros(b, self.grid_x**2, c)
        search_bxc = search_bxc.scatter(1, ids_bn[..., None].expand(-1, -1, c), search_bnc)
        alive_bx = torch.zeros(search_bxc.shape[:2], dtype=torch.bool, device=ids_bn.device)
        return Features(template_bzc, search_bxc, alive_bx.scatter(1, ids_bn, True), survivors)


class ConvolutionalStem(nn.Module):
    """Patch embedding by strided 3×3 convolutions, which learn from far fewer images than one large
    kernel (Xiao et al., Early convolutions help transformers see better, NeurIPS 2021); beside them
    the mean colour of each patch, by which a target can be matched from the start."""

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        doublings = patch.bit_length() - 1
        widths = [3, *(max(8, width >> i) for i in reversed(range(doublings)))]
        convolutions = [
            nn.Sequential(nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in pairwise(widths)
        ]
        self.convolutions = nn.Sequential(*convolutions, nn.Conv2d(width, width, 1))
        self.colour = nn.Sequential(nn.AvgPool2d(patch), nn.Conv2d(3, width, 1))
        nn.init.normal_(self.colour[1].get_parameter("weight"), std=0.7)

    def forward(self, image_bchw: Tensor) -> Tensor:
        """Tokens [b, n, c]."""
        grid_bcgg: Tensor = self.convolutions(image_bchw) + self.colour(image_bchw)
        return grid_bcgg.flatten(2).transpose(1, 2)


def _make_embedding(config: BackboneConfig) -> nn.Module:
    if config.stem == "convolutional":
        return ConvolutionalStem(config.patch, config.width)
    embedding: nn.Module = PatchEmbed(None, config.patch, 3, config.width)
    return embedding


def template_rows(mode: str, grid: int) -> list[int] | None:
    """Template tokens whose attention ranks candidates; None: all of them, or those of the box.

    On an even grid the single "centre" token is the one up-left of the true centre.
    """
    middle = (grid - 1) // 2
    if mode == "centre":
        return [middle * grid + middle]
    if mode == "centre_square":
        sides = (middle, grid // 2) if grid % 2 == 0 else (middle,)
        return [row * grid + column for row in sides for column in sides]
    return None


def _call(action: Callable[..., Any], *arguments: Any) -> Any:
    return action(*arguments)


def _gather(tokens_bnc: Tensor, ids_bn: Tensor) -> Tensor:
    return tokens_bnc.gather(1, ids_bn[..., None].expand(-1, -1, tokens_bnc.shape[-1]))


def _start_as_similarity(qkv: Tensor) -> None:
    """Let queries and keys start alike, so that tokens attend to tokens like themselves, the template's
    among them (Trockman & Kolter, Mimetic initialization of self-attention layers, ICML 2023)."""
    width = qkv.shape[1]
    alike = nn.init.orthogonal_(torch.empty(width, width))
    qkv.data[: 2 * width] = alike.repeat(2, 1)


def _initialise(module: nn.Module) -> None:
    """Xavier, which fits every width; the customary deviation of 0.02 starves narrow networks."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
