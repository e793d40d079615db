"""Frames of video files, decoded without extracting them: each is found again by its time stamp."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from threading import Lock, get_ident
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from trackline.data.shards import Entry
from trackline.errors import CorruptImageError, DataError

SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".mpg", ".mpeg", ".webm", ".m4v", ".wmv")
STEPS_BACK = (8, 64, 512)  # how far before a frame a decoder is set when a shorter way missed it
READ_ON = 64  # frames ahead that are reached by reading on

Image = np.ndarray[Any, Any]


def is_video(name: str) -> bool:
    """Whether a file's name is that of a video."""
    return name.lower().endswith(SUFFIXES)


def split_name(image: str) -> tuple[str, int] | None:
    """Split VIDEO/00000017 into the video and the number of the frame; None for any other image."""
    video, _, number = image.rpartition("/")
    return (video, int(number)) if is_video(video) and number.isdecimal() else None


def index(root: Path, video: Entry) -> dict[int, list[Entry]]:
    """List the frames of a video, each with its time stamp in microseconds for an offset.

    Decodes it all: headers are wrong about the number of frames. Raises DataError when it cannot be
    read or lies in a shard.
    """
    if video.offset >= 0:
        raise DataError(
            f"{video.path} is a video inside a shard; videos are read from files: unpack it"
        )
    capture = cv2.VideoCapture(str(root / video.path))
    total = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0) or None
    bar = tqdm(
        _stamp(capture), f"read {video.path}", total, disable=None, unit=" frames", leave=False
    )
    frames = {
        number: [Entry(f"{video.path}/{number:08d}", stamp, video.bytes)]
        for number, stamp in enumerate(bar)
    }
    capture.release()
    if not frames:
        raise DataError(f"{video.path} holds no frame that can be decoded; convert or replace it")
    return frames


def read_size(root: Path, video: str) -> tuple[int, int]:
    """Read width and height in pixels of a video's frames; (0, 0) when it cannot be opened."""
    capture = cv2.VideoCapture(str(root / video))
    size = [int(capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)]
    capture.release()
    return size[0], size[1]


def read_frame(path: Path, number: int, stamp: int) -> Image:
    """Give one frame of a video as uint8 [height, width, 3], RGB; files stay open for the next ones."""
    return _open_video(str(path), path.stat().st_mtime_ns, get_ident())(number, stamp)


@lru_cache(maxsize=16)  # a decoder for each thread, so that threads do not set back one another's
def _open_video(path: str, _changed: int, _thread: int) -> Video:
    return Video(Path(path))


class Video:
    """One open video; gives any of its frames, fastest in order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._open()

    def __call__(self, number: int, stamp: int) -> Image:
        """Give frame `number`, whose time stamp is `stamp`, as uint8 [height, width, 3], RGB.

        Raises CorruptImageError when it is not there any more.
        """
        with self._lock:
            if not self._next - 1 <= number <= self._next + READ_ON:
                self._seek(number, stamp)
            while self._next <= number:
                if not self._capture.grab():
                    break
                self._next += 1
            done, image = self._capture.retrieve() if self._next == number + 1 else (False, None)
            if not done or image is None:
                self._open()
                raise CorruptImageError(
                    f"{self.path} has no frame {number} that can be decoded; index the data again"
                )
            return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))

    def _open(self) -> None:
        self._capture, self._next = cv2.VideoCapture(str(self.path)), 0

    def _seek(self, number: int, stamp: int) -> None:
        """Come to stand before a frame. Decoders land where they like, so the time stamp decides."""
        for back in STEPS_BACK:
            if number <= back:
                break
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, number - back)
            for _ in range(back * 2):
                if not self._capture.grab():
                    break
                now = _time(self._capture)
                if now > stamp:
                    break
                if now == stamp:
                    self._next = number + 1  # it is grabbed already
                    return
        self._open()


def _stamp(capture: Any) -> Iterator[int]:
    last = -1
    while capture.grab():
        last = max(_time(capture), last + 1)  # the last frame of some streams has no time
        yield last


def _time(capture: Any) -> int:
    return round(float(capture.get(cv2.CAP_PROP_POS_MSEC)) * 1000)
