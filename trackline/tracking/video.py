"""Follow a target through footage: streaming, in constant memory; boxes as tables and on a video."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from trackline import artifacts
from trackline.errors import DataError
from trackline.models.package import Package
from trackline.tracking.source import Source
from trackline.tracking.tracker import Result, Tracker

Image = np.ndarray[Any, Any]
COLUMNS = ["frame", "x", "y", "w", "h", "confidence", "class"]
COLOUR, INK = (77, 171, 247), (255, 255, 255)  # RGB


class Outcome(NamedTuple):
    """What was written, and the class of the whole footage."""

    table: Path
    video: Path
    frames: int
    label: str | None


def follow(model: Package, source: Source, box_xywh: Image, out: Path) -> Outcome:
    """Track from `box_xywh` (pixels) in the first frame; write boxes.csv, boxes.json, tracked.mp4.

    Raises DataError when a frame cannot be decoded or has another size than the first, BoxError when
    the box is not in the first one.
    """
    first = source.read_first()
    tracker = Tracker(model.network, model.track)
    tracker.start(0, first, box_xywh)
    given = Result(np.asarray(box_xywh, dtype=np.float64), 1.0, np.zeros(0))
    total, frames = np.zeros(len(model.classes)), 0
    with _open_outputs(out, first, source.frames_per_second) as write:
        bar = tqdm(source.read(), total=source.frames, unit="frame", disable=None)
        for frames, image in enumerate(bar, 1):
            _check_size(frames, image, first)
            result = given if frames == 1 else tracker.step([0], [image])[0]
            label = _name(result.probabilities, model.classes)
            total[: len(result.probabilities)] += result.probabilities
            write(frames - 1, image, result, label)
    return Outcome(out / "boxes.csv", out / "tracked.mp4", frames, _name(total, model.classes))


def _check_size(number: int, image: Image, first: Image) -> None:
    if image.shape != first.shape:
        (height, width), (high, wide) = image.shape[:2], first.shape[:2]
        raise DataError(
            f"frame {number} has {width}x{height} pixels, the first has {wide}x{high}; a box of one means "
            "nothing in the other: give frames of one size"
        )


@contextmanager
def _open_outputs(out: Path, first: Image, frames_per_second: float) -> Iterator[Any]:
    """A function that writes one frame to all three files, which appear when the last is written."""
    with (
        artifacts.replacing(out / "boxes.csv") as csv_path,
        artifacts.replacing(out / "boxes.json") as json_path,
        artifacts.replacing(out / "tracked.mp4") as video_path,
        csv_path.open("w", newline="", encoding="utf-8") as table,
        json_path.open("w", encoding="utf-8") as listing,
    ):
        rows, film = csv.writer(table), _open_film(video_path, first, frames_per_second)
        rows.writerow(COLUMNS)

        def write(frame: int, image: Image, result: Result, label: str | None) -> None:
            known = None if np.isnan(result.confidence) else round(result.confidence, 4)
            row = [frame, *(round(float(v), 2) for v in result.box_xywh), known, label]
            rows.writerow(row)
            listing.write("[\n" if frame == 0 else ",\n")
            listing.write(json.dumps(dict(zip(COLUMNS, row, strict=True))))
            film.write(cv2.cvtColor(draw(image, result, label), cv2.COLOR_RGB2BGR))

        yield write
        listing.write("\n]\n")
        film.release()


def _open_film(path: Path, image: Image, frames_per_second: float) -> Any:
    height, width = image.shape[:2]
    codec = cv2.VideoWriter.fourcc(*"mp4v")
    film = cv2.VideoWriter(str(path), codec, frames_per_second, (width, height))
    if not film.isOpened():
        raise DataError(f"{path.parent} cannot take a video of {width}x{height} pixels")
    return film


def draw(image: Image, result: Result, label: str | None) -> Image:
    """A copy of the image with the box, the class and the confidence on it."""
    drawn = image.copy()
    x, y, w, h = (round(float(v)) for v in result.box_xywh)
    cv2.rectangle(drawn, (x, y), (x + w, y + h), COLOUR, 2)
    confidence = "" if np.isnan(result.confidence) else f"{result.confidence:.2f}"
    text = f"{label or ''} {confidence}".strip()
    at = (max(x, 0), max(y - 4, 10))
    cv2.putText(drawn, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(drawn, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.4, INK, 1, cv2.LINE_AA)
    return drawn


def _name(probabilities: Image, classes: tuple[str, ...]) -> str | None:
    return classes[int(probabilities.argmax())] if len(probabilities) else None
