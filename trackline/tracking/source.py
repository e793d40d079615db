"""What to follow a target through: a video, a folder of frames, or an annotated sequence; streaming."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from trackline.data import table
from trackline.data.frames import Frames, decode
from trackline.data.table import Sequence
from trackline.errors import DataError, EmptyDataError

if TYPE_CHECKING:
    from trackline.data.footage import Found

Image = np.ndarray[Any, Any]
IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
FRAMES_PER_SECOND = 25.0  # of footage that does not say


class Source(NamedTuple):
    """Frames in order, uint8 [h, w, 3], RGB; `frames`, how many, is None when unknown.

    `read` starts anew each time it is called, and holds one frame in memory.
    """

    name: str
    read: Callable[[], Iterator[Image]]
    frames: int | None
    frames_per_second: float

    def read_first(self) -> Image:
        """The first frame; raises EmptyDataError when there is none."""
        first = next(self.read(), None)
        if first is None:
            raise EmptyDataError(f"{self.name} holds no frame that can be decoded")
        return first


def open_path(path: Path) -> Source:
    """A video file or a folder of frames; raises DataError when it is neither."""
    if path.is_dir():
        images = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGES)
        return Source(str(path), lambda: _read_images(images), len(images), FRAMES_PER_SECOND)
    if not path.is_file():
        raise DataError(f"{path} does not exist; give a video file or a folder of frames")
    capture = cv2.VideoCapture(str(path))
    count, rate = (capture.get(p) for p in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS))
    capture.release()
    rate = float(rate) if 1 <= rate <= 1000 else FRAMES_PER_SECOND
    return Source(str(path), lambda: _read_video(path), int(count) if count > 0 else None, rate)


def open_sequence(sequence: Sequence, root: Path) -> Source:
    """An annotated sequence below `root`."""
    frames = Frames(root, cache_mb=0)

    def read() -> Iterator[Image]:
        return (frames(sequence, frame) for frame in range(len(sequence)))

    return Source(sequence.name, read, len(sequence), FRAMES_PER_SECOND)


def find_sequences(path: Path) -> tuple[Path, list[Sequence]]:
    """The annotated sequences in a folder, or of one video; none where no layout is known.

    With them the folder that their images are below.
    """
    from trackline.data import footage  # the readers of all layouts; boxes given by hand need none

    if path.is_dir():
        with suppress(EmptyDataError):
            return path, _read_sequences(footage.find(path))
        return path, []
    with suppress(DataError):  # what else lies beside a video need not be footage
        found = footage.find(path.parent)
        return path.parent, _read_sequences(
            one for one in found if getattr(one.clip.notes.get("video"), "path", "") == path.name
        )
    return path.parent, []


def _read_sequences(found: Iterable[Found]) -> list[Sequence]:
    from trackline.data import footage

    rows = footage.join(rows for one in found for rows in footage.read(one))
    return list(table.iterate(rows.assign(split="any"), "any"))


def _read_images(images: list[Path]) -> Iterator[Image]:
    for path in images:
        yield decode(path.read_bytes(), str(path))


def _read_video(path: Path) -> Iterator[Image]:
    capture = cv2.VideoCapture(str(path))
    try:
        while (frame := capture.read())[0]:
            yield cv2.cvtColor(frame[1], cv2.COLOR_BGR2RGB)
    finally:
        capture.release()
