"""Frames as small pictures with the target's box drawn, for people to look at."""

from __future__ import annotations

import cv2
import numpy as np

from trackline.data.frames import Frames, Image
from trackline.data.table import Sequence
from trackline.errors import DataError

GREEN, GREY, PAPER = (60, 220, 60), 128, 245


def draw_tile(sequence: Sequence, frames: Frames, moment: float, size_wh: tuple[int, int]) -> Image:
    """A frame at `moment`, 0 first to 1 last, in the middle of a tile: uint8 [height, width, 3], RGB.

    It keeps its shape; the tile is light around it, and grey where the frame cannot be read. The box is
    drawn where the target is visible.
    """
    tile = np.full((size_wh[1], size_wh[0], 3), PAPER, np.uint8)
    frame = round(moment * (len(sequence) - 1))
    try:
        image = frames(sequence, frame)
    except (DataError, OSError):
        return np.full_like(tile, GREY)
    height, width = image.shape[:2]
    scale = min(size_wh[0] / width, size_wh[1] / height)
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA)
    box = sequence.boxes_xywh[frame]
    if sequence.visible[frame] and np.isfinite(box).all():
        corners = np.concatenate([box[:2], box[:2] + box[2:]]) * scale
        left, top, right, bottom = np.clip(corners, -9999, 9999).round().astype(int).tolist()
        cv2.rectangle(small, (left, top), (right, bottom), GREEN, 2)
    x, y = (size_wh[0] - w) // 2, (size_wh[1] - h) // 2
    tile[y : y + h, x : x + w] = small
    return tile
