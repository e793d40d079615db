"""Boxes: conversions undo each other, overlaps are the textbook's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trackline import boxes

BOXES_XYWH = np.array([[0, 0, 10, 20], [-3.5, 2, 7, 1], [5, 5, 0, 0]], dtype=np.float64)


def test_conversions_undo_each_other() -> None:
    there = boxes.xywh_to_cxcywh(BOXES_XYWH)
    np.testing.assert_allclose(boxes.cxcywh_to_xywh(there), BOXES_XYWH)
    np.testing.assert_allclose(boxes.xyxy_to_xywh(boxes.xywh_to_xyxy(BOXES_XYWH)), BOXES_XYWH)
    np.testing.assert_allclose(boxes.cxcywh_to_xyxy(there), boxes.xywh_to_xyxy(BOXES_XYWH))


def test_arrays_and_tensors_agree() -> None:
    tensor = boxes.xywh_to_xyxy(torch.from_numpy(BOXES_XYWH))
    np.testing.assert_array_equal(tensor.numpy(), boxes.xywh_to_xyxy(BOXES_XYWH))


@pytest.mark.parametrize(
    ("other", "iou"),
    [
        ([0, 0, 10, 20], 1.0),  # itself
        ([5, 0, 10, 20], 1 / 3),  # half over
        ([10, 0, 10, 20], 0.0),  # touching
        ([2, 4, 5, 10], 0.25),  # nested
        ([0, 0, 0, 0], 0.0),  # empty
    ],
)
def test_overlap(other: list[float], iou: float) -> None:
    assert boxes.overlap_xywh([0, 0, 10, 20], other) == pytest.approx(iou)


def test_overlap_of_two_empty_boxes_is_zero() -> None:
    assert boxes.overlap_xywh([1, 1, 0, 0], [1, 1, 0, 0]) == 0


def test_generalised_iou_is_negative_for_boxes_apart() -> None:
    a, b = torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([[3.0, 0, 4, 1]])
    iou, giou = boxes.iou_giou_xyxy(a, b)
    assert iou.item() == 0
    assert giou.item() == pytest.approx(-0.5)  # hull 4, union 2


def test_clipping_keeps_a_margin_inside() -> None:
    clipped = boxes.clip_xywh([[-20, 50, 10, 10], [90, -5, 30, 30]], 100, 80, margin=4)
    np.testing.assert_allclose(clipped, [[0, 50, 4, 10], [90, 0, 10, 25]])
