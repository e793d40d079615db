"""The heads: a box head that says where, of three kinds, and a class head that says what.

Centre and corner head: Ye et al., OSTrack, ECCV 2022, section 3.3, and Yan et al., STARK, ICCV 2021,
section 3.1. Shapes: b batch, c width, g side of the grid.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trackline.boxes import xyxy_to_cxcywh
from trackline.config import Model


class Maps(NamedTuple):
    """What the centre head predicts for each cell."""

    score_bgg: Tensor  # in (0, 1)
    size_b2gg: Tensor  # width and height, fractions of the search crop
    offset_b2gg: Tensor  # from the cell's corner to the centre, in cells


class Boxes(NamedTuple):
    """What a head predicts that has no map of scores: the box at once."""

    boxes_cxcywh: Tensor  # [b, 4], fractions of the search crop
    score_b: Tensor  # in (0, 1]; NaN where the head has no notion of confidence


class CentreHead(nn.Module):
    """Three branches of convolutions: score, offset, size."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.score = _make_branch(inputs, width, 1)
        self.offset = _make_branch(inputs, width, 2)
        self.size = _make_branch(inputs, width, 2)
        _spread(self)
        # a rare-target prior of 1 %, or the background's loss drowns all else (Lin et al., 2017)
        nn.init.constant_(self.score[-1].get_parameter("bias"), -4.6)

    def forward(self, features_bcgg: Tensor) -> Maps:
        """Predict maps from features [b, c, g, g]."""
        score = _squash(self.score(features_bcgg))[:, 0]
        return Maps(score, _squash(self.size(features_bcgg)), self.offset(features_bcgg).float())


class CornerHead(nn.Module):
    """Two branches of convolutions, each a probability over the cells for one corner of the box."""

    def __init__(self, inputs: int, width: int, compat: bool = False) -> None:
        super().__init__()
        self.top_left = _make_branch(inputs, width, 1)
        self.bottom_right = _make_branch(inputs, width, 1)
        self.shift = 0.0 if compat else 0.5  # the reference puts a cell's mass on its corner
        _spread(self)

    def forward(self, features_bcgg: Tensor) -> Boxes:
        """Predict boxes from features [b, c, g, g].

        The score is the geometric mean of the two maps' peaks: 1 where both corners are certain.
        """
        maps = self.weigh(features_bcgg)
        first_b2, second_b2 = (self.expect(map_bgg) for map_bgg in maps)
        box_xyxy = torch.cat((first_b2.minimum(second_b2), first_b2.maximum(second_b2)), dim=1)
        peak_b, other_b = (map_bgg.flatten(1).amax(1) for map_bgg in maps)
        return Boxes(xyxy_to_cxcywh(box_xyxy), (peak_b * other_b).sqrt())

    def weigh(self, features_bcgg: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities [b, g, g] of the top left and of the bottom right corner."""
        logits = (branch(features_bcgg).float() for branch in (self.top_left, self.bottom_right))
        first, second = (x.flatten(1).softmax(1).view_as(x[:, 0]) for x in logits)
        return first, second

    def expect(self, map_bgg: Tensor) -> Tensor:
        """The mean place [b, 2] (x, y; fractions of the crop) under a map of probabilities."""
        g = map_bgg.shape[-1]
        steps = (torch.arange(g, device=map_bgg.device) + self.shift) / g
        return torch.stack(((map_bgg.sum(1) * steps).sum(1), (map_bgg.sum(2) * steps).sum(1)), 1)


class MlpHead(nn.Module):
    """Three linear layers on the mean of the features; it has no notion of confidence."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        sizes = (inputs, width, width, 4)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, features_bcgg: Tensor) -> Boxes:
        """Predict boxes from features [b, c, g, g]."""
        boxes_b4 = self.regress(features_bcgg.mean((2, 3))).float().sigmoid()
        return Boxes(boxes_b4, torch.full_like(boxes_b4[:, 0], torch.nan))

    def regress(self, pooled_bc: Tensor) -> Tensor:
        """Logits [b, 4] of a box cxcywh from pooled features."""
        first, second, last = self.layers
        logits_b4: Tensor = last(F.relu(second(F.relu(first(pooled_bc)))))
        return logits_b4


def make_box_head(config: Model) -> CentreHead | CornerHead | MlpHead:
    """The head that model.head names."""
    inputs, width = config.backbone.width, config.head_width
    if config.head == "corner":
        return CornerHead(inputs, width, config.mimics("crop"))
    return MlpHead(inputs, width) if config.head == "mlp" else CentreHead(inputs, width)


def decode(found: Maps | Boxes, window_gg: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Boxes cxcywh [b, 4] in fractions of the crop, of maps at the best cell, and their score [b].

    A window multiplies the scores that choose the cell; the score returned is the unwindowed one.
    """
    if isinstance(found, Boxes):
        return found
    b, g, _ = found.score_bgg.shape
    response = found.score_bgg if window_gg is None else found.score_bgg * window_gg
    best_b = response.flatten(1).argmax(dim=1)
    at_b2 = best_b[:, None, None].expand(b, 2, 1)
    size_b2 = found.size_b2gg.flatten(2).gather(2, at_b2)[..., 0]
    offset_b2 = found.offset_b2gg.flatten(2).gather(2, at_b2)[..., 0]
    cell_b2 = torch.stack((best_b % g, best_b.div(g, rounding_mode="floor")), dim=1)
    boxes_b4 = torch.cat(((cell_b2 + offset_b2) / g, size_b2), dim=1)
    return boxes_b4, found.score_bgg.flatten(1).gather(1, best_b[:, None])[:, 0]


def hann_window(g: int) -> Tensor:
    """A [g, g] window ½(1 − cos(2πk/(g+1))), k = 1…g, in each direction: never zero."""
    k = torch.arange(1, g + 1)
    line = 0.5 * (1 - torch.cos(2 * torch.pi * k / (g + 1)))
    return line[:, None] * line[None, :]


class ClassHead(nn.Module):
    """A weighted mean of tokens → Linear → ReLU → Dropout → Linear."""

    def __init__(self, width: int, hidden: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, hidden)
        self.dropout = nn.Dropout(dropout)
        self.logits = nn.Linear(hidden, classes)

    def forward(self, tokens_bxc: Tensor, weights_bx: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [b, classes] and the hidden layer [b, hidden]; the weights need not sum to 1."""
        share_bx = weights_bx.to(tokens_bxc) / weights_bx.sum(1, keepdim=True)
        hidden = F.relu(self.hidden(torch.einsum("bxc,bx->bc", tokens_bxc, share_bx)))
        return self.logits(self.dropout(hidden)), hidden


def cover_cells(boxes_cxcywh: Tensor, alive_bx: Tensor) -> Tensor:
    """How much of each surviving cell [b, x] a box [b, 4] covers; all survivors where it covers none."""
    g = round(alive_bx.shape[1] ** 0.5)
    low_b2, high_b2 = (boxes_cxcywh[:, :2] + sign * boxes_cxcywh[:, 2:] / 2 for sign in (-1, 1))
    edges = torch.arange(g, device=alive_bx.device)
    start_b2g = (low_b2[..., None] * g).maximum(edges)
    end_b2g = (high_b2[..., None] * g).minimum(edges + 1)
    x_bg, y_bg = (end_b2g - start_b2g).clamp(min=0).unbind(1)
    covered_bx = (y_bg[:, :, None] * x_bg[:, None, :]).flatten(1) * alive_bx
    return torch.where(covered_bx.any(1, keepdim=True), covered_bx, alive_bx.to(covered_bx))


def _make_branch(inputs: int, width: int, outputs: int) -> nn.Sequential:
    widths = [inputs, *(max(1, width // 2**i) for i in range(4))]
    steps = [
        nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(inplace=True))
        for a, b in pairwise(widths)
    ]
    return nn.Sequential(*steps, nn.Conv2d(widths[-1], outputs, 1))


def _spread(head: nn.Module) -> None:
    for parameter in head.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)


def _squash(logits: Tensor) -> Tensor:
    return logits.float().sigmoid().clamp(1e-4, 1 - 1e-4)
