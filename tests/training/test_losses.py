"""Losses: exact on cases small enough to do by hand."""

from __future__ import annotations

import math

import pytest
import torch

from trackline.models.heads import Maps
from trackline.models.network import Prediction
from trackline.training.losses import compute_losses, focal_loss, gaussian_radius, paint_heat_map


def make_prediction(boxes: torch.Tensor, logits: torch.Tensor | None = None) -> Prediction:
    b = len(boxes)
    maps = Maps(torch.full((b, 6, 6), 0.1), torch.zeros(b, 2, 6, 6), torch.zeros(b, 2, 6, 6))
    return Prediction(maps, boxes, torch.zeros(len(boxes)), logits)


def test_the_heat_map_is_one_at_the_rounded_centre_and_falls_around_it() -> None:
    (heat,) = paint_heat_map(torch.tensor([[0.25, 0.5, 0.25, 0.25]]), 8)  # centre (3, 5)
    assert heat.argmax() == 5 * 8 + 3
    assert heat.max() == 1
    assert (heat == 1).sum() == 1
    assert heat[5, 2] == heat[5, 4] == heat[4, 3]


def test_a_centre_beyond_the_grid_leaves_no_positive_cell() -> None:
    assert (paint_heat_map(torch.tensor([[1.0, 1.0, 0.4, 0.4]]), 8) < 1).all()


def test_the_radius_is_cornernet_s() -> None:
    """The smallest of the three roots for a box of 10 x 10 cells, worked out by hand."""
    roots = (
        (20 + math.sqrt(400 - 4 * 100 * 0.3 / 1.7)) / 2,
        (40 + math.sqrt(1600 - 16 * 0.3 * 100)) / 2,
        (-28 + math.sqrt(4 * 0.49 * 400 + 16 * 0.7 * 0.3 * 100)) / 2,
    )
    radius = gaussian_radius(torch.tensor([10.0]), torch.tensor([10.0]))
    assert radius.item() == pytest.approx(min(roots), rel=1e-5)


def test_focal_loss_by_hand() -> None:
    score = torch.tensor([[[0.8, 0.3]]])
    target = torch.tensor([[[1.0, 0.5]]])
    expected = -(0.2**2 * math.log(0.8)) - 0.5**4 * 0.3**2 * math.log(0.7)
    assert focal_loss(score, target).item() == pytest.approx(expected, rel=1e-5)


def test_focal_loss_without_positives_is_not_divided() -> None:
    loss = focal_loss(torch.full((1, 2, 2), 0.5), torch.zeros(1, 2, 2))
    assert loss.item() == pytest.approx(4 * 0.25 * math.log(2), rel=1e-5)


def test_the_total_weighs_the_four_losses() -> None:
    truth = torch.tensor([[0.25, 0.25, 0.5, 0.5]])
    found = torch.tensor([[0.5, 0.5, 0.5, 0.25]])  # cxcywh: half the height
    logits, labels = torch.tensor([[2.0, 0.0]]), torch.tensor([1])
    losses = compute_losses(make_prediction(found, logits), truth, labels, class_weight=3.0)
    assert losses.iou.item() == pytest.approx(0.5)
    assert losses.giou.item() == pytest.approx(0.5)
    assert losses.l1.item() == pytest.approx(0.25 / 4)
    assert losses.accuracy.item() == 0
    expected = 2 * 0.5 + 5 * 0.0625 + losses.location.item() + 3 * math.log(1 + math.exp(2))
    assert losses.total.item() == pytest.approx(expected, rel=1e-5)


def test_a_perfect_box_costs_nothing() -> None:
    truth = torch.tensor([[0.25, 0.25, 0.5, 0.5]])
    losses = compute_losses(make_prediction(torch.tensor([[0.5, 0.5, 0.5, 0.5]])), truth, None, 1.0)
    assert losses.giou.item() == pytest.approx(0, abs=1e-6)
    assert losses.l1.item() == 0
    assert losses.classification.item() == 0


def test_truth_beyond_the_crop_is_clipped_to_it() -> None:
    truth = torch.tensor([[-0.5, 0.0, 1.0, 1.0]])  # only its right half is in the crop
    losses = compute_losses(
        make_prediction(torch.tensor([[0.25, 0.5, 0.5, 1.0]])), truth, None, 1.0
    )
    assert losses.iou.item() == pytest.approx(1)
