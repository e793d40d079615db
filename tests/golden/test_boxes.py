"""Boxes, crops and the way between them, as the reference computes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from trackline import boxes
from trackline.config import Jitter
from trackline.data.clips import normalise
from trackline.data.crops import Window, cut, place_compat, place_window, to_crop, to_image
from trackline.data.sampling import displace

if TYPE_CHECKING:
    from tests.golden.conftest import Golden

BEYOND = "wholly outside: the reference's arbitrary pixels"


def test_overlaps(golden: Callable[[str], Golden]) -> None:
    data = golden("boxes")
    iou, giou = boxes.iou_giou_xyxy(data["a_xyxy"], data["b_xyxy"])
    data.agree("iou", iou)
    data.agree("giou", giou)
    loss = (1 - giou)[data["finite_mask"].bool()].mean()
    data.agree("giou_loss_mean_over_finite", loss)


def test_conversions(golden: Callable[[str], Golden]) -> None:
    data = golden("boxes")
    a_xywh = boxes.xyxy_to_xywh(data["a_xyxy"])
    data.agree("a_as_xywh", a_xywh)
    data.agree("a_as_cxcywh", boxes.xywh_to_cxcywh(a_xywh))
    data.agree("xywh_roundtrip_xyxy", boxes.xywh_to_xyxy(a_xywh))
    data.agree("cxcywh_roundtrip_xyxy", boxes.cxcywh_to_xyxy(boxes.xywh_to_cxcywh(a_xywh)))


def test_clipping_keeps_a_margin_inside(golden: Callable[[str], Golden]) -> None:
    data = golden("boxes")
    height, width = data["clip_HW"].tolist()
    for margin in (0, 10):
        clipped = boxes.clip_xywh(data["clip_in_xywh"].numpy(), width, height, margin)
        data.agree(f"clip_out_margin{margin}", clipped, 1e-9)


def test_crops_show_the_same_pixels(golden: Callable[[str], Golden]) -> None:
    """Within a grey level, which is what builds of OpenCV differ by."""
    data = golden("crops")
    image = data["image"].numpy()
    for case in data.metadata["cases"]:
        if case["status"] != "ok" or f"crop_{case['i']:02}" not in data.tensors:
            continue
        window = place_window(np.array(case["box_xywh"]), case["factor"])
        assert window.side == case["crop_sz"]
        if shows_some_of(image, window):
            crop = cut(image, window, case["out"], compat=True)
            difference = np.abs(crop.astype(int) - data[f"crop_{case['i']:02}"].numpy()) / 255
            data.agree(torch.zeros(()), difference.max(), 1 / 255, f"crop_{case['i']:02}")


def shows_some_of(image: np.ndarray[Any, Any], window: Window) -> bool:
    """Whether a crop has pixels of the image; those of others are arbitrary in the reference."""
    height, width = image.shape[:2]
    across = window.left + window.side > 0 and window.left < width - 1
    return across and window.top + window.side > 0 and window.top < height - 1


def test_boxes_enter_crops(golden: Callable[[str], Golden]) -> None:
    data = golden("crops")
    rows = data["to_crop_table"]
    for i, (*given, factor, size, _) in enumerate(rows[:, :11].tolist()):
        around = np.array(given[4:])
        frame = place_compat(around, place_window(around, factor), int(size))
        in_crop = to_crop(np.array(given[:4]), frame)
        data.agree(rows[i, 11:15], in_crop, 1e-5, "to_crop_table")
        data.agree(rows[i, 15:], in_crop * size, 1e-5, "to_crop_table")


def test_boxes_leave_crops(golden: Callable[[str], Golden]) -> None:
    data = golden("map_back")
    for row in data["table"]:
        state, size, factor = row[:4].numpy(), float(row[4]), float(row[5])
        frame = place_compat(state, Window(0, 0, round(size / factor)))
        box = to_image(boxes.cxcywh_to_xywh(row[6:10].numpy()), frame)
        data.agree(row[10:14], box, 1e-5, "table: image")
        data.agree(row[14:], boxes.clip_xywh(box, 320, 240, 10), 1e-5, "table: clipped")


class Draws:
    """A generator whose numbers are known."""

    def __init__(self, normal: np.ndarray[Any, Any], uniform: np.ndarray[Any, Any]) -> None:
        self.normal, self.uniform = normal, uniform

    def standard_normal(self, _: int) -> np.ndarray[Any, Any]:
        return self.normal

    def random(self, _: int) -> np.ndarray[Any, Any]:
        return self.uniform


def test_search_regions_are_displaced(golden: Callable[[str], Golden]) -> None:
    data = golden("crops")
    for row in data["jitter_table"].numpy():
        draws = cast(np.random.Generator, Draws(row[4:6], row[6:8]))
        moved = displace(draws, row[:4], Jitter(centre=row[9], scale=row[8]))
        data.agree(torch.from_numpy(row[10:]), moved, 1e-6, "jitter_table")


def test_images_are_normalised(golden: Callable[[str], Golden]) -> None:
    data = golden("crops")
    data.agree("norm_out", normalise(data["norm_in_u8"].movedim(-1, 0).float() / 255)[None])
