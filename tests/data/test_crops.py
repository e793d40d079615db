"""Crops: whole-pixel windows, black outside, and coordinates that go there and back."""

from __future__ import annotations

import numpy as np
import pytest

from trackline.data.crops import Window, align, cut, place_window, to_crop, to_image

IMAGE = np.arange(8 * 10 * 3, dtype=np.uint8).reshape(8, 10, 3)


def test_the_window_is_centred_and_as_wide_as_the_factor_says() -> None:
    assert place_window(np.array([40.0, 30, 16, 4]), 3.0) == Window(36, 20, 24)


def test_a_box_without_area_still_gives_a_window() -> None:
    assert place_window(np.array([5.0, 5, 0, 0]), 3.0).side == 1


def test_inside_the_image_a_crop_at_its_own_size_is_a_copy() -> None:
    np.testing.assert_array_equal(cut(IMAGE, Window(2, 1, 5), 5), IMAGE[1:6, 2:7])


def test_outside_the_image_is_black() -> None:
    crop = cut(IMAGE, Window(-2, -3, 6), 6)
    assert not crop[:3].any()
    assert not crop[:, :2].any()
    np.testing.assert_array_equal(crop[3:, 2:], IMAGE[:3, :4])


@pytest.mark.parametrize("window", [Window(-20, 0, 6), Window(10, 0, 6), Window(0, 99, 6)])
def test_a_window_wholly_outside_is_black(window: Window) -> None:
    assert not cut(IMAGE, window, 4).any()


def test_the_reference_loses_the_last_row_and_column_at_the_border() -> None:
    ours, theirs = (cut(IMAGE, Window(6, 4, 6), 6, compat) for compat in (False, True))
    np.testing.assert_array_equal(ours[:4, :4], IMAGE[4:, 6:])
    assert not theirs[3].any()
    assert not theirs[:, 3].any()


def test_boxes_go_into_the_crop_and_back() -> None:
    window, box = Window(-7, 12, 33), np.array([1.5, 20.25, 9, 4])
    np.testing.assert_allclose(to_image(to_crop(box, window), window), box)
    np.testing.assert_allclose(to_crop(np.array([-7.0, 12, 33, 33]), window), [0, 0, 1, 1])


def test_pixels_and_boxes_agree_after_a_resize() -> None:
    """A white square keeps its place: no half-pixel bias between images and boxes."""
    image = np.zeros((60, 60, 3), np.uint8)
    image[20:30, 24:40] = 255
    window = Window(10, 10, 40)
    crop = cut(image, window, 120)[..., 0] / 255
    x, y, w, h = to_crop(np.array([24.0, 20, 16, 10]), window) * 120
    columns, rows = crop.sum(0), crop.sum(1)
    assert columns @ (np.arange(120) + 0.5) / columns.sum() == pytest.approx(x + w / 2, abs=0.02)
    assert rows @ (np.arange(120) + 0.5) / rows.sum() == pytest.approx(y + h / 2, abs=0.02)


@pytest.mark.parametrize("unit", [2, 4, 8])
def test_an_aligned_window_lies_on_the_grid_and_is_about_the_same(unit: int) -> None:
    for window in (Window(13, -7, 101), Window(0, 0, 64), Window(-30, 5, 7)):
        aligned = align(window, unit)
        assert all(edge % unit == 0 for edge in aligned)
        assert window.side <= aligned.side < window.side + unit
        for edge in (0, 1):
            before, after = (w[edge] + w.side / 2 for w in (window, aligned))
            assert abs(before - after) <= unit / 2
