"""Follow a target through a video file or a folder of frames: streaming, in constant memory."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from trackline import artifacts
from trackline.data.frames import decode
from trackline.errors import DataError, EmptyDataError
from trackline.models.package import Package
from trackline.tracking.tracker import Result, Tracker

Image = np.ndarray[Any, Any]
IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
COLOUR, INK = (77, 171, 247), (255, 255, 255)  # RGB


class Outcome(NamedTuple):
    """What was written, and the class of the whole video."""

    table: Path
    video: Path
    frames: int
    label: str | None


def follow_video(model: Package, source: Path, box_xywh: Image, out: Path) -> Outcome:
    """Track from `box_xywh` (pixels) in the first frame; write out/boxes.csv and out/tracked.mp4.

    Raises DataError when the source cannot be read, BoxError when the box is not in its first frame.
    """
    count, frames_per_second = probe(source)
    images = read_frames(source)
    first = next(images, None)
    if first is None:
        raise EmptyDataError(f"{source} holds no frame that can be decoded")
    tracker = Tracker(model.network, model.track)
    tracker.start(0, first, box_xywh)
    given = Result(np.asarray(box_xywh, dtype=np.float64), 1.0, np.zeros(0))
    total, frames = np.zeros(len(model.classes)), 1
    table, video = out / "boxes.csv", out / "tracked.mp4"
    with (
        artifacts.replacing(table) as csv_path,
        artifacts.replacing(video) as video_path,
        csv_path.open("w", newline="", encoding="utf-8") as file,
    ):
        rows, film = csv.writer(file), _open_film(video_path, first, frames_per_second)
        rows.writerow(["frame", "x", "y", "w", "h", "confidence", "class"])
        _write(rows, film, 0, first, given, None)
        for image in tqdm(images, total=count, initial=1, unit="frame", disable=None):
            result = tracker.step([0], [image])[0]
            total += result.probabilities
            label = _name(result.probabilities, model.classes)
            _write(rows, film, frames, image, result, label)
            frames += 1
        film.release()
    return Outcome(table, video, frames, _name(total, model.classes))


def probe(source: Path) -> tuple[int | None, float]:
    """How many frames there are (None when unknown) and how many a second (25 when unknown)."""
    if source.is_dir():
        return len(_list_images(source)), 25.0
    if not source.is_file():
        raise DataError(f"{source} does not exist; give a video file or a folder of frames")
    capture = cv2.VideoCapture(str(source))
    count, rate = (capture.get(p) for p in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS))
    capture.release()
    return int(count) if count > 0 else None, float(rate) if 1 <= rate <= 1000 else 25.0


def read_frames(source: Path) -> Iterator[Image]:
    """Yield the frames in order as uint8 [h, w, 3], RGB."""
    if source.is_dir():
        for path in _list_images(source):
            yield decode(path.read_bytes(), str(path))
        return
    capture = cv2.VideoCapture(str(source))
    try:
        while (frame := capture.read())[0]:
            yield cv2.cvtColor(frame[1], cv2.COLOR_BGR2RGB)
    finally:
        capture.release()


def _list_images(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGES)


def _open_film(path: Path, image: Image, frames_per_second: float) -> Any:
    height, width = image.shape[:2]
    codec = cv2.VideoWriter.fourcc(*"mp4v")
    film = cv2.VideoWriter(str(path), codec, frames_per_second, (width, height))
    if not film.isOpened():
        raise DataError(f"{path.parent} cannot take a video of {width}x{height} pixels")
    return film


def _write(
    rows: Any, film: Any, frame: int, image: Image, result: Result, label: str | None
) -> None:
    box = [f"{v:.2f}" for v in result.box_xywh]
    confidence = "" if np.isnan(result.confidence) else f"{result.confidence:.4f}"
    rows.writerow([frame, *box, confidence, label or ""])
    film.write(cv2.cvtColor(draw(image, result, label), cv2.COLOR_RGB2BGR))


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
