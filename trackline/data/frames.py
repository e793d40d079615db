"""Frames as arrays: read from loose files or tar shards, decoded once, kept while memory allows."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

import cv2
import numpy as np

from trackline.data import videos
from trackline.data.table import Sequence
from trackline.errors import CorruptImageError, MissingFrameError

Image = np.ndarray[Any, Any]
MOST_PIXELS = 2**28  # of an image to decode: 800 MB; validate.max_image_mpx is the finer limit


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


def decode(data: bytes, name: str) -> Image:
    """Decode an image to uint8 [height, width, 3], RGB; raises CorruptImageError naming it."""
    image: Image | None = None
    if data:
        with suppress(cv2.error):  # a size beyond what OpenCV decodes
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise CorruptImageError(f"{name} cannot be decoded; replace the file or drop its sequence")
    return image


class Frames:
    """Frames of sequences below `root`, least recently used ones dropped beyond `cache_mb`."""

    def __init__(self, root: Path, cache_mb: int = 2048) -> None:
        self.root = root
        self._room = cache_mb * 2**20
        self._kept: OrderedDict[str, Image] = OrderedDict()
        self._lock = Lock()

    def __call__(self, sequence: Sequence, frame: int) -> Image:
        """Give frame number `frame` of a sequence as uint8 [height, width, 3], RGB; do not write to it."""
        name = sequence.images[frame]
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
                return self._kept[name]
        image = self._load(sequence, frame)
        self._keep(name, image)
        return image

    def _load(self, sequence: Sequence, frame: int) -> Image:
        name, offset = sequence.images[frame], int(sequence.offsets[frame])
        width, height = sequence.sizes_wh[frame].tolist()
        if width * height > MOST_PIXELS:
            raise CorruptImageError(
                f"{name} has {width}x{height} pixels, more than fit into memory; scale it down"
            )
        try:
            if in_video := videos.split_name(name):
                return videos.read_frame(self.root / in_video[0], in_video[1], offset)
            data = read_bytes(self.root, name, offset, int(sequence.lengths[frame]))
        except (FileNotFoundError, NotADirectoryError):
            raise MissingFrameError(
                f"{self.root / name} is annotated but does not exist; restore it or index again"
            ) from None
        return decode(data, name)

    def _keep(self, name: str, image: Image) -> None:
        with self._lock:
            if name in self._kept:
                return
            self._kept[name] = image
            self._room -= image.nbytes
            while self._room < 0 and len(self._kept) > 1:
                self._room += self._kept.popitem(last=False)[1].nbytes


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
