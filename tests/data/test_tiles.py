"""Small pictures of frames: nothing is squeezed, and the box is where the target is."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from trackline.data.frames import Frames
from trackline.data.table import Sequence
from trackline.data.tiles import GREY, PAPER, draw_tile


def picture(root: Path, visible: bool = True) -> Sequence:
    """One dark frame of 100x50 pixels with a box in its right half."""
    cv2.imwrite(str(root / "1.png"), np.zeros((50, 100, 3), np.uint8))
    box, none = np.array([[60.0, 10.0, 20.0, 20.0]]), np.array([-1])
    size = np.array([[100, 50]])
    return Sequence("s", "train", "", ("1.png",), none, none, size, box, np.array([visible]))


def test_a_wide_frame_keeps_its_shape_and_its_box(tmp_path: Path) -> None:
    tile = draw_tile(picture(tmp_path), Frames(tmp_path), 0, (80, 60))
    assert tile.shape == (60, 80, 3)
    assert (tile[:10] == PAPER).all()
    assert (tile[50:] == PAPER).all()
    green = np.argwhere((tile[..., 1] > 200) & (tile[..., 0] < 150))
    assert np.abs(green.min(axis=0) - (10 + 8, 48)).max() <= 2
    assert np.abs(green.max(axis=0) - (10 + 24, 64)).max() <= 2


@pytest.mark.parametrize("gone", [False, True])
def test_no_box_of_what_is_absent_and_grey_for_what_cannot_be_read(
    gone: bool, tmp_path: Path
) -> None:
    sequence = picture(tmp_path, visible=False)
    if gone:
        (tmp_path / "1.png").unlink()
    tile = draw_tile(sequence, Frames(tmp_path), 1, (80, 40))
    assert (tile == (GREY if gone else 0)).all()
