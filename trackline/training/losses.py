"""The four losses of a search frame and the target maps they need.

Box and location losses: Ye et al., OSTrack, ECCV 2022, equation 8 (GIoU × 2 + L1 × 5 + focal × 1).
Shapes: b batch, g side of the feature grid.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from trackline.boxes import cxcywh_to_xyxy, iou_giou_xyxy, xywh_to_xyxy
from trackline.models.heads import Maps
from trackline.models.network import Prediction

GIOU, L1, LOCATION = 2.0, 5.0, 1.0


class Losses(NamedTuple):
    """Scalars of one search frame, unweighted except `total`, and two measures without gradient."""

    total: Tensor
    giou: Tensor
    l1: Tensor
    location: Tensor
    classification: Tensor
    iou: Tensor
    accuracy: Tensor


def compute_losses(
    prediction: Prediction,
    boxes_xywh: Tensor,
    labels_b: Tensor | None,
    class_weight: float,
    label_smoothing: float = 0.0,
    positives: Tensor | None = None,
) -> Losses:
    """Compare a prediction with the true boxes [b, 4] (fractions of the crop) and labels [b].

    `positives` is what the location loss is divided by, where these samples are part of a batch.
    """
    truth_xyxy = xywh_to_xyxy(boxes_xywh).clamp(0, 1)
    found_xyxy = cxcywh_to_xyxy(prediction.boxes_cxcywh)
    iou_b, giou_b = iou_giou_xyxy(found_xyxy, truth_xyxy)
    giou, l1 = (1 - giou_b).mean(), F.l1_loss(found_xyxy, truth_xyxy)
    location = torch.zeros_like(giou)
    if isinstance(prediction.found, Maps):  # the other heads have no map of scores
        score_bgg = prediction.found.score_bgg
        location = focal_loss(score_bgg, paint_heat_map(boxes_xywh, score_bgg.shape[-1]), positives)
    tracking = GIOU * giou + L1 * l1 + LOCATION * location
    if prediction.logits is None or labels_b is None:
        nothing = torch.zeros_like(giou)
        return Losses(tracking, giou, l1, location, nothing, iou_b.detach().mean(), nothing)
    logits = prediction.logits.float()
    classification = F.cross_entropy(logits, labels_b, label_smoothing=label_smoothing)
    accuracy = (logits.detach().argmax(1) == labels_b).float().mean()
    total = tracking + class_weight * classification
    return Losses(total, giou, l1, location, classification, iou_b.detach().mean(), accuracy)


def focal_loss(score_bgg: Tensor, target_bgg: Tensor, positives: Tensor | None = None) -> Tensor:
    """Focal loss of a heat map (Law & Deng, CornerNet, ECCV 2018, equation 1), α = 2, β = 4.

    Divided by `positives`, or else by the number of cells that are exactly 1 in the whole batch;
    undivided where none is.
    """
    score_bgg = score_bgg.clamp(min=1e-12)
    positive = target_bgg == 1
    gain = torch.where(
        positive,
        (1 - score_bgg) ** 2 * score_bgg.log(),
        (1 - target_bgg) ** 4 * score_bgg**2 * torch.log1p(-score_bgg),
    )
    return -gain.sum() / (positive.sum().clamp(min=1) if positives is None else positives)


def count_positives(boxes_xywh: Tensor, g: int) -> Tensor:
    """How many cells of the heat maps of boxes [b, t, 4] are exactly 1, for each frame, [t]."""
    maps = paint_heat_map(boxes_xywh.flatten(0, 1), g).unflatten(0, boxes_xywh.shape[:2])
    positives: Tensor = (maps == 1).sum((0, 2, 3))
    return positives


def paint_heat_map(boxes_xywh: Tensor, g: int) -> Tensor:
    """Gaussians [b, g, g] around the rounded centres of boxes [b, 4] (fractions of the crop).

    The radius is CornerNet's for an overlap of 0.7; a centre beyond the grid leaves no cell at 1.
    """
    boxes_xywh = boxes_xywh * g
    w, h = boxes_xywh[:, 2], boxes_xywh[:, 3]
    radius_b = gaussian_radius(w, h).clamp(min=0).trunc()[:, None]
    centre_b2 = (boxes_xywh[:, :2] + boxes_xywh[:, 2:] / 2).round()
    steps = torch.arange(g, device=boxes_xywh.device)
    dx, dy = steps - centre_b2[:, :1], steps - centre_b2[:, 1:]
    sigma = (2 * radius_b + 1) / 6
    near_x, near_y = dx.abs() <= radius_b, dy.abs() <= radius_b
    line_x, line_y = (torch.exp(-(d**2) / (2 * sigma**2)) for d in (dx, dy))
    return (line_y * near_y)[:, :, None] * (line_x * near_x)[:, None, :]


def gaussian_radius(w: Tensor, h: Tensor, overlap: float = 0.7) -> Tensor:
    """CornerNet's radius in cells for boxes of w×h cells: the published code's three roots over 2.

    That code divides every root by 2, not by 2a; trackers were trained with it, so it stays.
    """
    total, area, o = w + h, w * h, overlap
    r1 = (total + (total**2 - 4 * area * (1 - o) / (1 + o)).clamp(min=0).sqrt()) / 2
    r2 = (2 * total + (4 * total**2 - 16 * (1 - o) * area).clamp(min=0).sqrt()) / 2
    r3 = (-2 * o * total + (4 * o**2 * total**2 + 16 * o * (1 - o) * area).sqrt()) / 2
    return torch.minimum(torch.minimum(r1, r2), r3)
