"""Square crops around a target, and the way between image and crop coordinates.

Rule of the crop: side = ceil(√(w·h)·factor), origin = round(centre − side/2), black outside the
image, bilinear resize (HIPTrack and its ancestors). Boxes in a crop are fractions of its side.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import cv2
import numpy as np

Image = np.ndarray[Any, Any]
Box = np.ndarray[Any, Any]
Frame = tuple[float, float, float]  # left, top and side of a crop in image pixels, as of a Window


class Window(NamedTuple):
    """A square of the image: whole-pixel origin and side; may reach beyond the image."""

    left: int
    top: int
    side: int


def place_window(box_xywh: Box, factor: float) -> Window:
    """The search or template region around a box; at least one pixel wide."""
    x, y, w, h = (float(v) for v in box_xywh)
    side = max(1, math.ceil(math.sqrt(max(w, 0) * max(h, 0)) * factor))
    return Window(round(x + w / 2 - side / 2), round(y + h / 2 - side / 2), side)


def align(window: Window, unit: int) -> Window:
    """The window with its corner and its side at multiples of `unit` pixels, no smaller than before."""
    side = math.ceil(window.side / unit) * unit
    reach = (side - window.side) / 2
    left, top = (round((edge - reach) / unit) * unit for edge in window[:2])
    return Window(left, top, side)


def cut(image: Image, window: Window, size: int, compat: bool = False) -> Image:
    """Cut a window out of an image and resize it to [size, size, 3]; black outside the image.

    `compat` treats the last row and column as outside where the window reaches the border, as the
    reference does.
    """
    height, width = image.shape[:2]
    left, top, side = window
    loss = 1 if compat else 0
    x1, x2 = max(left, 0), min(left + side, width - loss if left + side > width - loss else width)
    y1, y2 = max(top, 0), min(top + side, height - loss if top + side > height - loss else height)
    if x1 >= x2 or y1 >= y2:
        return np.zeros((size, size, 3), np.uint8)
    crop = image[y1:y2, x1:x2]
    if crop.shape[:2] != (side, side):
        crop = cv2.copyMakeBorder(
            crop, y1 - top, top + side - y2, x1 - left, left + side - x2, cv2.BORDER_CONSTANT
        )
    resized: Image = cv2.resize(crop, (size, size), interpolation=cv2.INTER_LINEAR)
    return resized


def place_compat(box_xywh: Box, window: Window, size: int | None = None) -> Frame:
    """The reference's coordinates of a window: centred on the box, whatever pixels were cut.

    Boxes on their way into a crop (of `size`) are placed half a crop pixel off those on the way out.
    """
    x, y, w, h = (float(v) for v in box_xywh)
    half = window.side / 2 * (1 if size is None else (size - 1) / size)
    return x + w / 2 - half, y + h / 2 - half, window.side


def to_crop(box_xywh: Box, frame: Frame) -> Box:
    """A box in image pixels as fractions of the crop."""
    left, top, side = frame
    return (np.asarray(box_xywh) - (left, top, 0, 0)) / side


def to_image(box_xywh: Box, frame: Frame) -> Box:
    """A box in fractions of the crop as image pixels; the inverse of `to_crop`."""
    left, top, side = frame
    return np.asarray(box_xywh) * side + (left, top, 0, 0)
