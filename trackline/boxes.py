"""Axis-aligned boxes: conversions and overlap, on numpy arrays and torch tensors alike.

Coordinates are continuous: a box from 0 to W covers an image W pixels wide. The last axis holds the
four numbers; a name says their order: xywh (left, top, width, height), cxcywh (centre, size), xyxy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:  # importing torch takes seconds, and most callers have numpy arrays
    import torch

Array = TypeVar("Array", "np.ndarray[Any, Any]", "torch.Tensor")


def xywh_to_xyxy(boxes_xywh: Array) -> Array:
    """Turn [..., 4] left-top-size boxes into corners."""
    return _join(boxes_xywh[..., :2], boxes_xywh[..., :2] + boxes_xywh[..., 2:])


def xyxy_to_xywh(boxes_xyxy: Array) -> Array:
    """Turn [..., 4] corners into left-top-size boxes."""
    return _join(boxes_xyxy[..., :2], boxes_xyxy[..., 2:] - boxes_xyxy[..., :2])


def xywh_to_cxcywh(boxes_xywh: Array) -> Array:
    """Turn [..., 4] left-top-size boxes into centre-size boxes."""
    return _join(boxes_xywh[..., :2] + boxes_xywh[..., 2:] / 2, boxes_xywh[..., 2:])


def cxcywh_to_xywh(boxes_cxcywh: Array) -> Array:
    """Turn [..., 4] centre-size boxes into left-top-size boxes."""
    return _join(boxes_cxcywh[..., :2] - boxes_cxcywh[..., 2:] / 2, boxes_cxcywh[..., 2:])


def cxcywh_to_xyxy(boxes_cxcywh: Array) -> Array:
    """Turn [..., 4] centre-size boxes into corners."""
    half = boxes_cxcywh[..., 2:] / 2
    return _join(boxes_cxcywh[..., :2] - half, boxes_cxcywh[..., :2] + half)


def xyxy_to_cxcywh(boxes_xyxy: Array) -> Array:
    """Turn [..., 4] corners into centre-size boxes."""
    low, high = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    return _join((low + high) / 2, high - low)


def overlap_xywh(a_xywh: Any, b_xywh: Any) -> np.ndarray[Any, Any]:
    """Intersection over union of [..., 4] boxes, row by row; 0 where the union is empty."""
    a, b = (xywh_to_xyxy(np.asarray(x, dtype=np.float64)) for x in (a_xywh, b_xywh))
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    inter = np.prod(np.clip(sides, 0, None), axis=-1)
    union = _area(a) + _area(b) - inter
    iou: np.ndarray[Any, Any] = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
    return iou


def iou_giou_xyxy(a_xyxy: torch.Tensor, b_xyxy: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """IoU and generalised IoU (Rezatofighi et al., CVPR 2019) of [..., 4] corners, row by row.

    An empty pair (0/0) yields NaN, as the formula says.
    """
    a_low, a_high, b_low, b_high = (
        a_xyxy[..., :2],
        a_xyxy[..., 2:],
        b_xyxy[..., :2],
        b_xyxy[..., 2:],
    )
    inter = _extent(a_low.maximum(b_low), a_high.minimum(b_high))
    hull = _extent(a_low.minimum(b_low), a_high.maximum(b_high))
    union = _area(a_xyxy) + _area(b_xyxy) - inter
    iou = inter / union
    return iou, iou - (hull - union) / hull


def clip_xywh(box_xywh: Any, width: float, height: float, margin: float) -> np.ndarray[Any, Any]:
    """Clip [..., 4] boxes to an image so that at least `margin` pixels of each side remain inside."""
    box = xywh_to_xyxy(np.asarray(box_xywh, dtype=np.float64))
    limit = np.array([width, height], dtype=np.float64)
    low = np.clip(box[..., :2], 0, limit - margin)
    high = np.clip(box[..., 2:], margin, limit)
    return _join(low, np.maximum(high - low, margin))


def _extent(low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    area: torch.Tensor = (high - low).clamp(min=0).prod(dim=-1)
    return area


def _area(boxes_xyxy: Array) -> Array:
    sides = boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]
    area: Array = sides[..., 0] * sides[..., 1]
    return area


def _join(a: Array, b: Array) -> Array:
    if isinstance(a, np.ndarray):
        return np.concatenate((a, b), axis=-1)
    import torch

    joined: torch.Tensor = torch.cat((a, b), dim=-1)
    return joined
