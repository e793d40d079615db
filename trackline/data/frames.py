"""Frames as arrays: read from loose files or tar shards, decoded once, kept while memory allows."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import cv2
import numpy as np

from trackline.data import videos
from trackline.data.table import Sequence
from trackline.errors import CorruptImageError, MissingFrameError

Image = np.ndarray[Any, Any]
MOST_PIXELS = 2**28  # of an image to decode: 800 MB; validate.max_image_mpx is the finer limit
JPEG = b"\xff\xd8"
REDUCED = {  # libjpeg leaves out what a smaller image would not show: a quarter of the work and less
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


class Shrunk(NamedTuple):
    """An image of `width` by `height` pixels at 1/`by` of its size: uint8 [h, w, 3], RGB."""

    pixels: Image
    by: int
    width: int
    height: int

    @staticmethod
    def of(image: Image) -> Shrunk:
        """An image as it is."""
        return Shrunk(image, 1, image.shape[1], image.shape[0])


def read_bytes(root: Path, image: str, offset: int, length: int) -> bytes:
    """Read one encoded image; `image` is relative to `root`, SHARD.tar/MEMBER inside a shard.

    A frame of a video, VIDEO/NUMBER with its time stamp for an offset, is encoded for the occasion.
    """
    if in_video := videos.split_name(image):
        frame = videos.read_frame(root / in_video[0], in_video[1], offset)
        return encode(frame, cv2.IMWRITE_JPEG_QUALITY, 95)
    if offset < 0:
        return (root / image).read_bytes()
    shard = image[: image.index(".tar/") + 4]
    handle = os.open(root / shard, os.O_RDONLY)
    try:
        return os.pread(handle, length, offset)
    finally:
        os.close(handle)


def encode(image: Image, *options: int) -> bytes:
    """Encode an image uint8 [height, width, 3], RGB, as JPEG."""
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1].tobytes()


def decode(data: bytes, name: str, shrink: int = 1) -> Image:
    """Decode an image to uint8 [height, width, 3], RGB, at 1, 1/2, 1/4 or 1/8 of its size.

    Raises CorruptImageError naming it.
    """
    image: Image | None = None
    if data:
        with suppress(cv2.error):  # a size beyond what OpenCV decodes
            image = cv2.imdecode(np.frombuffer(data, np.uint8), REDUCED[shrink])
    if image is None:
        raise CorruptImageError(f"{name} cannot be decoded; replace the file or drop its sequence")
    return image if shrink == 1 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


class Frames:
    """Frames of sequences below `root`, least recently used ones dropped beyond `cache_mb`."""

    def __init__(self, root: Path, cache_mb: int = 2048) -> None:
        self.root = root
        self._room = cache_mb * 2**20
        self._kept: OrderedDict[tuple[str, int], Shrunk] = OrderedDict()
        self._lock = Lock()

    def __call__(self, sequence: Sequence, frame: int) -> Image:
        """Give frame number `frame` of a sequence as uint8 [height, width, 3], RGB; do not write to it."""
        return self.shrink(sequence, frame, 1).pixels

    def shrink(self, sequence: Sequence, frame: int, by: int) -> Shrunk:
        """Give a frame at 1/`by` of its size where that saves work, which is in JPEG files; or as it is."""
        key = sequence.images[frame], by
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        image = self._load(sequence, frame, by)
        self._keep(key, image)
        return image

    def _load(self, sequence: Sequence, frame: int, by: int) -> Shrunk:
        name, offset = sequence.images[frame], int(sequence.offsets[frame])
        width, height = sequence.sizes_wh[frame].tolist()
        if width * height > MOST_PIXELS:
            raise CorruptImageError(
                f"{name} has {width}x{height} pixels, more than fit into memory; scale it down"
            )
        try:
            if in_video := videos.split_name(name):
                video, number = in_video
                return Shrunk.of(videos.read_frame(self.root / video, number, offset))
            data = read_bytes(self.root, name, offset, int(sequence.lengths[frame]))
        except (FileNotFoundError, NotADirectoryError):
            raise MissingFrameError(
                f"{self.root / name} is annotated but does not exist; restore it or index again"
            ) from None
        if by == 1 or not data.startswith(JPEG) or min(width, height) <= 0:
            return Shrunk.of(decode(data, name))
        return Shrunk(decode(data, name, by), by, width, height)

    def _keep(self, key: tuple[str, int], image: Shrunk) -> None:
        with self._lock:
            if key in self._kept:
                return
            self._kept[key] = image
            self._room -= image.pixels.nbytes
            while self._room < 0 and len(self._kept) > 1:
                self._room += self._kept.popitem(last=False)[1].pixels.nbytes


def hash_frames(root: Path, sequences: Iterable[Sequence]) -> str:
    """One hash over the images and the annotations of sequences, in their order."""
    total = hashlib.sha256()
    for s in sequences:
        total.update(f"{s.name} {s.label} {len(s)}".encode())
        for array in (s.boxes_xywh, s.visible):
            total.update(np.ascontiguousarray(array).tobytes())
        for image, offset, length in zip(s.images, s.offsets, s.lengths, strict=True):
            total.update(read_bytes(root, image, int(offset), int(length)))
    return total.hexdigest()
