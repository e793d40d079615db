"""The heads: a centre head that says where, a class head that says what.

Centre head: Ye et al., OSTrack, ECCV 2022, section 3.3. Shapes: b batch, c width, g side of the grid.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Maps(NamedTuple):
    """What the centre head predicts for each cell."""

    score_bgg: Tensor  # in (0, 1)
    size_b2gg: Tensor  # width and height, fractions of the search crop
    offset_b2gg: Tensor  # from the cell's corner to the centre, in cells


class CentreHead(nn.Module):
    """Three branches of convolutions: score, offset, size."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.score = _make_branch(inputs, width, 1)
        self.offset = _make_branch(inputs, width, 2)
        self.size = _make_branch(inputs, width, 2)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        # a rare-target prior of 1 %, or the background's loss drowns all else (Lin et al., 2017)
        nn.init.constant_(self.score[-1].get_parameter("bias"), -4.6)

    def forward(self, features_bcgg: Tensor) -> Maps:
        """Predict maps from features [b, c, g, g]."""
        score = _squash(self.score(features_bcgg))[:, 0]
        return Maps(score, _squash(self.size(features_bcgg)), self.offset(features_bcgg).float())


def decode(maps: Maps, window_gg: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Boxes cxcywh [b, 4] in fractions of the crop at the best cell, and its score [b].

    A window multiplies the scores that choose the cell; the score returned is the unwindowed one.
    """
    b, g, _ = maps.score_bgg.shape
    response = maps.score_bgg if window_gg is None else maps.score_bgg * window_gg
    best_b = response.flatten(1).argmax(dim=1)
    at_b2 = best_b[:, None, None].expand(b, 2, 1)
    size_b2 = maps.size_b2gg.flatten(2).gather(2, at_b2)[..., 0]
    offset_b2 = maps.offset_b2gg.flatten(2).gather(2, at_b2)[..., 0]
    cell_b2 = torch.stack((best_b % g, best_b.div(g, rounding_mode="floor")), dim=1)
    boxes_b4 = torch.cat(((cell_b2 + offset_b2) / g, size_b2), dim=1)
    return boxes_b4, maps.score_bgg.flatten(1).gather(1, best_b[:, None])[:, 0]


def hann_window(g: int) -> Tensor:
    """A [g, g] window ½(1 − cos(2πk/(g+1))), k = 1…g, in each direction: never zero."""
    k = torch.arange(1, g + 1)
    line = 0.5 * (1 - torch.cos(2 * torch.pi * k / (g + 1)))
    return line[:, None] * line[None, :]


class ClassHead(nn.Module):
    """Global mean of the surviving search tokens → Linear → ReLU → Dropout → Linear."""

    def __init__(self, width: int, hidden: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, hidden)
        self.dropout = nn.Dropout(dropout)
        self.logits = nn.Linear(hidden, classes)

    def forward(self, search_bxc: Tensor, alive_bx: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [b, classes] and the hidden layer [b, hidden].

        The mean is over survivors: eliminated positions are zeros, and their number follows a
        schedule that the class must not depend on.
        """
        alive_bx1 = alive_bx[..., None].to(search_bxc)
        pooled_bc = (search_bxc * alive_bx1).sum(1) / alive_bx1.sum(1)
        hidden = F.relu(self.hidden(pooled_bc))
        return self.logits(self.dropout(hidden)), hidden


def _make_branch(inputs: int, width: int, outputs: int) -> nn.Sequential:
    widths = [inputs, *(max(1, width // 2**i) for i in range(4))]
    steps = [
        nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(inplace=True))
        for a, b in pairwise(widths)
    ]
    return nn.Sequential(*steps, nn.Conv2d(widths[-1], outputs, 1))


def _squash(logits: Tensor) -> Tensor:
    return logits.float().sigmoid().clamp(1e-4, 1 - 1e-4)
