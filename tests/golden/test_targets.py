"""What training aims at, and the losses: heat maps, windows, schedules, as the reference has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from trackline.config import Backbone as BackboneConfig
from trackline.config import Crop, Elimination, Model, Train
from trackline.models.backbone import Backbone, template_rows
from trackline.models.heads import Maps, hann_window
from trackline.models.network import Prediction
from trackline.training.loop import keep_ratio
from trackline.training.losses import (
    compute_losses,
    focal_loss,
    gaussian_radius,
    paint_heat_map,
)

if TYPE_CHECKING:
    from tests.golden.conftest import Golden

MODES = {"CTR_POINT": "centre", "CTR_REC": "centre_square"}


def names(data: Golden, start: str) -> list[str]:
    """Keys that begin alike; their last part is a size."""
    return [key for key in data.tensors if key.startswith(start)]


def test_heat_maps(golden: Callable[[str], Golden]) -> None:
    data = golden("targets")
    for key in names(data, "map_"):
        size = key.removeprefix("map_")
        boxes, g = data[f"box_xywh_{size}"], data[key].shape[-1]
        data.agree(key, paint_heat_map(boxes, g))
        radius = gaussian_radius(boxes[:, 2] * g, boxes[:, 3] * g)
        data.agree(f"radius_float_{size}", radius)
        data.agree(f"radius_int_{size}", radius.clamp(min=0).trunc(), 0)


def test_heat_maps_of_centres_beyond_the_grid_have_no_peak(
    golden: Callable[[str], Golden],
) -> None:
    data = golden("targets")
    for i, case in enumerate(data.metadata["outside_cases"]):
        map_gg = data[f"outside_{i}"]
        data.agree(f"outside_{i}", paint_heat_map(torch.tensor([case["box"]]), map_gg.shape[-1]))


def test_windows(golden: Callable[[str], Golden]) -> None:
    data = golden("targets")
    for key in names(data, "hann2d_"):
        data.agree(key, hann_window(data[key].shape[-1]))


def test_template_rows_that_rank_candidates(golden: Callable[[str], Golden]) -> None:
    data = golden("targets")
    for mode, name in MODES.items():
        for key in names(data, f"cemask_{mode}_"):
            masks = data[key]
            rows = template_rows(name, round(masks.shape[1] ** 0.5))
            mine = torch.zeros_like(masks)
            mine[:, rows] = 1
            data.agree(key, mine, 0)


def test_ratio_of_candidates_kept_follows_the_epoch(golden: Callable[[str], Golden]) -> None:
    data = golden("targets")
    train = Train(keep_start_epoch=20, keep_warmup_epochs=80)
    ratios = [keep_ratio(epoch, 0.7, train) for epoch in data["keep_rate_epochs"].tolist()]
    data.agree("keep_rate", torch.tensor(ratios, dtype=torch.float64), 1e-9)


def test_number_of_candidates_kept(golden: Callable[[str], Golden]) -> None:
    data = golden("targets")
    tiny = Model(
        template=Crop(2, 2.0),
        backbone=BackboneConfig(patch=2, width=4, depth=3, heads=1),
        elimination=Elimination((0, 1, 2), (0.7, 0.7, 0.7)),
    )
    networks: dict[int, Backbone] = {}
    for ratio, *counts in data["ce_keep_counts"].tolist():
        side = 2 * round(counts[0] ** 0.5)
        backbone = networks.setdefault(side, Backbone(replace(tiny, search=Crop(side, 5.0))).eval())
        with torch.no_grad():
            template, search = torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, side, side)
            kept = [ids.shape[1] for ids in backbone(template, search, keep=ratio).survivors]
        data.agree(torch.tensor(counts[1:]), kept or counts[1:], 0, "ce_keep_counts")


@pytest.mark.parametrize("case", range(5))
def test_losses(golden: Callable[[str], Golden], case: int) -> None:
    data = golden("losses")
    score_b1gg, gt_xywh = data[f"{case}.score_map"], data[f"{case}.gt_xywh"]
    losses = compute_losses(
        predict(score_b1gg[:, 0], data[f"{case}.pred_cxcywh"]), gt_xywh, None, 1
    )
    data.agree(f"{case}.gt_map", paint_heat_map(gt_xywh, score_b1gg.shape[-1]))
    data.agree(f"{case}.giou", losses.giou)
    data.agree(f"{case}.l1", losses.l1)
    data.agree(f"{case}.focal", losses.location)
    data.agree(f"{case}.mean_iou", losses.iou)
    data.agree(f"{case}.total", losses.total)


def predict(score_bgg: Tensor, boxes_b14: Tensor) -> Prediction:
    """A prediction of which only scores and boxes matter."""
    nothing = torch.empty(0)
    return Prediction(Maps(score_bgg, nothing, nothing), boxes_b14[:, 0], nothing, None)


def test_focal_loss_at_its_edges(golden: Callable[[str], Golden]) -> None:
    data = golden("losses")
    pred, target = data["focal_nopos.pred"], data["focal_nopos.target"]
    data.agree("focal_nopos.loss", focal_loss(pred, target))
    two = data["focal_2pos.target"]
    data.agree("focal_2pos.loss", focal_loss(pred, two))
    data.agree("focal_zero_pred.loss", focal_loss(data["focal_zero_pred.pred"], two))
