"""What an encoded image tells: its size, whether all of it decodes, and a fingerprint of its bytes."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from io import BytesIO
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, UnidentifiedImageError
from PIL.ContainerIO import ContainerIO
from tqdm import tqdm

from trackline.data import videos
from trackline.data.frames import read_bytes
from trackline.data.shards import Entry

SUFFIXES = (".jpg", ".jpeg", ".png")
FORMATS = ("JPEG", "PNG")
MISSING = "the file does not exist"
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)  # the EXIF tag, and its values that swap the sides
MOST_PIXELS = 100_000_000  # of an image; more is a decompression bomb
BROKEN = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)


@dataclass(frozen=True)
class Checks:
    """One row an image: why it cannot be decoded ("" when it can), and 64 bits that identify its bytes.

    The fingerprint is 0 where there is none: no image, a broken one, or one of a single tone.
    """

    problems: np.ndarray[Any, Any]
    fingerprints: np.ndarray[Any, Any]


def read_size(root: Path, entry: Entry) -> tuple[int, int]:
    """Read width and height in pixels from the header, turned as decoders turn it; (0, 0) without one."""
    if in_video := videos.split_name(entry.path):
        return _read_video_size(root, in_video[0])
    with (root / entry.container).open("rb") as file:
        source = file if entry.offset < 0 else ContainerIO(file, entry.offset, entry.bytes)
        try:
            with Image.open(source, formats=FORMATS) as image:
                width, height = image.size
                turned = image.format == "JPEG" and image.getexif().get(ORIENTATION) in TURNED
        except BROKEN:
            return 0, 0
    return (height, width) if turned else (width, height)


@lru_cache(maxsize=1)  # frames of one video come one after another
def _read_video_size(root: Path, video: str) -> tuple[int, int]:
    return videos.read_size(root, video)


def check(root: Path, table: pd.DataFrame) -> Checks:
    """Decode every image of an annotation table; rows without an image stay unchecked."""
    columns = (table[name].tolist() for name in ("image", "offset", "bytes"))
    rows = zip(*columns, strict=True)
    with ThreadPool(os.cpu_count()) as pool:
        results = pool.imap(lambda row: _check(root, *row), rows, chunksize=32)
        done = list(tqdm(results, "decode", len(table), disable=None, unit=" images", leave=False))
    return Checks(
        np.array([problem for problem, _ in done], dtype=object),
        np.array([fingerprint for _, fingerprint in done], dtype=np.uint64),
    )


def _check(root: Path, name: str, offset: int, length: int) -> tuple[str, int]:
    if length < 0:
        return "", 0
    try:
        data = read_bytes(root, name, offset, length)
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            image.draft("L", (1, 1))  # at 1/8 scale: a JPEG is read to its end, little is computed
            low, high = image.convert("L").getextrema()
    except FileNotFoundError:
        return MISSING, 0
    except UnidentifiedImageError:  # its own text holds a memory address
        return "not a JPEG or PNG image", 0
    except BROKEN as error:
        return str(error), 0
    return "", 0 if low == high else int.from_bytes(blake2b(data, digest_size=8).digest(), "big")
