"""The tracker network: one shared backbone, the history branch, a box head and a class head.

Shapes: b batch, t search frames of a clip, g side of the feature grid, c backbone width.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trackline.boxes import cxcywh_to_xyxy, xywh_to_cxcywh, xywh_to_xyxy
from trackline.config import Model
from trackline.errors import ConfigError
from trackline.models.backbone import Backbone, Features
from trackline.models.heads import Boxes, ClassHead, Maps, cover_cells, decode, make_box_head
from trackline.models.history import HistoryBranch, paint_mask


class Prediction(NamedTuple):
    """What the network says of one search frame for each sample."""

    found: Maps | Boxes  # what the box head says
    boxes_cxcywh: Tensor  # [b, 4], fractions of the crop, at the best cell
    scores_b: Tensor  # of these boxes, in (0, 1]; NaN from a head without confidence
    logits: Tensor | None  # [b, classes]; None without a class head


class Network(nn.Module):
    """The whole tracker; images are normalised RGB, [b, 3, side, side]."""

    def __init__(self, config: Model, classes: int) -> None:
        super().__init__()
        self.config = config
        width = config.backbone.width
        self.backbone = Backbone(config)
        self.history = HistoryBranch(config)
        self.box_head = make_box_head(config)
        self.class_head = self.fusion = None
        if config.variant != "tracking":
            if classes < 2:
                raise ConfigError(
                    f"data.classes names {classes} classes; a class head needs at least two "
                    "(or set model.variant: tracking)"
                )
            self.class_head = ClassHead(
                width, config.class_head.hidden, classes, config.class_head.dropout
            )
        pool = config.class_head.pool
        self._pool = "all" if pool == "survivors" and config.mimics("pooling") else pool
        if config.variant == "fusion":
            self.fusion = nn.Linear(config.class_head.hidden, width)

    def forward(
        self,
        template_b3hw: Tensor,
        template_box_xywh: Tensor,
        searches_bt3hw: Tensor,
        keep: float | None = None,
        targets_xywh: Tensor | None = None,
    ) -> list[Prediction]:
        """Follow a clip: one prediction a search frame, each reading what the earlier ones wrote.

        `template_box_xywh` [b, 4] is in fractions of the template crop. All frames go through the
        backbone in one batch; the history is unrolled over them. A class head that pools under the
        box takes the true ones, `targets_xywh` [b, t, 4], where they are given.
        """
        t = searches_bt3hw.shape[1]
        rows = self.mark_rows(template_box_xywh)
        rows = None if rows is None else rows.repeat_interleave(t, dim=0)
        features = self.backbone(template_b3hw, searches_bt3hw.flatten(0, 1), rows, keep)
        frames = [features.take(slice(i, None, t)) for i in range(t)]
        entries = [self.write_template(template_b3hw, template_box_xywh, frames[0].template_bzc)]
        predictions: list[Prediction] = []
        for i, frame in enumerate(frames):
            keys, values = (torch.cat(part, dim=1) for part in zip(*entries, strict=True))
            target = None if targets_xywh is None else xywh_to_cxcywh(targets_xywh[:, i])
            predictions.append(self.predict(frame, keys, values, target_cxcywh=target))
            if i == 0:
                entries = []  # the template serves only until there is a memory
            if i < t - 1:
                boxes = predictions[-1].boxes_cxcywh.detach()
                entries.append(self.write_frame(searches_bt3hw[:, i], frame, boxes))
        return predictions

    def mark_rows(self, template_box_xywh: Tensor) -> Tensor | None:
        """The template tokens [b, z] inside the box, where elimination.rows says that they rank."""
        if self.config.elimination.rows != "box":
            return None
        size, grid = self.config.template.size, self.backbone.grid_z
        mask_bhw = paint_mask(xywh_to_xyxy(template_box_xywh * size), None, size, compat=False)
        cells = F.interpolate(mask_bhw[:, None], (grid, grid), mode="bilinear", align_corners=False)
        return cells.flatten(1) > 0

    def predict(
        self,
        features: Features,
        keys_bmk: Tensor,
        values_bmv: Tensor,
        valid_bm: Tensor | None = None,
        window_gg: Tensor | None = None,
        target_cxcywh: Tensor | None = None,
    ) -> Prediction:
        """Read the memory with the search features, then say where the target is and what it is.

        A window multiplies the scores that choose the cell, where the box head has scores. A class head
        that pools under the box takes the predicted one, or the true `target_cxcywh` [b, 4] in training:
        at first the predicted ones are anywhere, and it would learn from the background.
        """
        search_bcgg = to_grid(features.search_bxc)
        enhanced_bcgg = self.history.read(search_bcgg, keys_bmk, values_bmv, valid_bm)
        logits = None
        if self.fusion is not None:
            logits, hidden_bh = self._classify(features, enhanced_bcgg)
            enhanced_bcgg = enhanced_bcgg + self.fusion(hidden_bh)[:, :, None, None]
        found: Maps | Boxes = self.box_head(enhanced_bcgg)
        boxes, scores = decode(found, window_gg)
        if self.class_head is not None and logits is None:
            under = boxes.detach() if target_cxcywh is None else target_cxcywh
            logits, _ = self._classify(features, enhanced_bcgg, under)
        return Prediction(found, boxes, scores, logits)

    def _classify(
        self, features: Features, enhanced_bcgg: Tensor, boxes_cxcywh: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Class logits and the class head's hidden layer, from the tokens that `pool` names.

        Eliminated tokens are zeros whose number follows a schedule: they should not count.
        """
        assert self.class_head is not None
        pool, tokens_bxc, weights_bx = self._pool, features.search_bxc, features.alive_bx
        if pool == "fused":
            tokens_bxc = enhanced_bcgg.flatten(2).transpose(1, 2)
        if pool in ("all", "fused"):
            weights_bx = torch.ones_like(weights_bx)
        if pool == "box" and boxes_cxcywh is not None:
            weights_bx = cover_cells(boxes_cxcywh, weights_bx)
        logits, hidden = self.class_head(tokens_bxc, weights_bx)
        return logits, hidden

    def write_template(
        self, template_b3hw: Tensor, box_xywh: Tensor, template_bzc: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The memory entry of the template; see `look_at_template` for the part worth keeping."""
        stem = self.look_at_template(template_b3hw, box_xywh)
        return self.write_template_stem(stem, template_bzc)

    def look_at_template(self, template_b3hw: Tensor, box_xywh: Tensor) -> Tensor:
        """Stem features of the template enlarged to the search side: once for each sequence."""
        size = self.config.search.size
        image = F.interpolate(template_b3hw, (size, size), mode="bilinear", align_corners=True)
        box_px = box_xywh * size
        compat = self.config.mimics("mask")
        if compat:
            box_px = box_px.trunc()  # so that x2 is int(x) + int(w), as in the reference
        mask = paint_mask(xywh_to_xyxy(box_px), None, size, compat)
        stem: Tensor = self.history.encoder.look(image, mask)
        return stem

    def write_template_stem(self, stem: Tensor, template_bzc: Tensor) -> tuple[Tensor, Tensor]:
        """The template's entry for one frame: its features depend on the search region too."""
        grid = (self.backbone.grid_x, self.backbone.grid_x)
        enlarged = F.interpolate(to_grid(template_bzc), grid, mode="bilinear", align_corners=True)
        return self.history.write_stem(stem, enlarged)

    def write_frame(
        self, search_b3hw: Tensor, features: Features, boxes_cxcywh: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The memory entry of a search frame whose target is thought to be in `boxes_cxcywh`."""
        size = self.config.search.size
        box_px = cxcywh_to_xyxy(boxes_cxcywh) * size
        mask = paint_mask(box_px, features.alive_bx, size, self.config.mimics("mask"))
        return self.history.write(search_b3hw, to_grid(features.search_bxc), mask)


def to_grid(tokens_bnc: Tensor) -> Tensor:
    """Tokens [b, g·g, c] as a map [b, c, g, g]."""
    side = math.isqrt(tokens_bnc.shape[1])
    grid: Tensor = tokens_bnc.transpose(1, 2).unflatten(2, (side, side))
    return grid
