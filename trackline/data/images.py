"""What an encoded image tells: its size, whether all of it decodes, and a fingerprint of its bytes."""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from io import BytesIO
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
from PIL import Image, ImageFile, UnidentifiedImageError
from PIL.ContainerIO import ContainerIO
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from tqdm import tqdm

from trackline import artifacts
from trackline.data import videos
from trackline.data.frames import read_bytes
from trackline.data.shards import Entry
from trackline.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png")
FORMATS: dict[bytes, type[ImageFile.ImageFile]] = {
    b"\xff\xd8\xff": JpegImageFile,
    b"\x89PN": PngImageFile,
}
CACHE = Path(".trackline_cache/images.parquet")
MISSING = "the file does not exist"
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)  # the EXIF tag, and its values that swap the sides
MOST_PIXELS = 100_000_000  # of a mask; more is a decompression bomb
BROKEN = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)


@dataclass(frozen=True)
class Checks:
    """One row an image: why it cannot be decoded ("" when it can), and 64 bits that identify it.

    `fingerprints` are of its bytes, `looks` of how it looks: they outlast another encoding or size. Both
    are 0 where there is none: no image, a broken one, one of a single tone, or one that was not decoded.
    """

    problems: np.ndarray[Any, Any]
    fingerprints: np.ndarray[Any, Any]
    looks: np.ndarray[Any, Any]


def read_size(root: Path, entry: Entry) -> tuple[int, int]:
    """Read width and height in pixels from the header, turned as decoders turn it; (0, 0) without one."""
    if in_video := videos.split_name(entry.path):
        return _read_video_size(root, in_video[0])
    try:
        with (root / entry.container).open("rb") as file:
            source = file if entry.offset < 0 else ContainerIO(file, entry.offset, entry.bytes)
            with _open(source) as image:
                width, height = image.size
                turned = image.format == "JPEG" and image.getexif().get(ORIENTATION) in TURNED
    except BROKEN:
        return 0, 0
    return (height, width) if turned else (width, height)


def _open(source: IO[bytes]) -> ImageFile.ImageFile:
    """Read a header, of a bomb too: Image.open refuses it, and the rule for gigantic images never sees it."""
    kind = FORMATS.get(source.read(3))
    source.seek(0)
    if kind is None:
        raise UnidentifiedImageError("not a JPEG or PNG image")
    return kind(source)


@lru_cache(maxsize=1)  # frames of one video come one after another
def _read_video_size(root: Path, video: str) -> tuple[int, int]:
    return videos.read_size(root, video)


def check(root: Path, table: pd.DataFrame, sample: float = 1.0, most_mpx: float = 100.0) -> Checks:
    """Decode the images of an annotation table, or a seeded sample of them; each file only once.

    Rows without an image and images of more than `most_mpx` million pixels stay unchecked. What was
    found is kept by content in CACHE, so that the same images are not decoded again.
    """
    pixels = table["width"].to_numpy(np.int64) * table["height"].to_numpy(np.int64)
    wanted = (table["bytes"].to_numpy() >= 0) & (pixels <= most_mpx * 1e6)
    if sample < 1:
        wanted &= np.random.default_rng(0).random(len(table)) < sample
    rows = np.flatnonzero(wanted)
    problems = np.full(len(table), "", dtype=object)
    prints, looks = (np.zeros(len(table), dtype=np.uint64) for _ in range(2))
    if not len(rows):
        return Checks(problems, prints, looks)
    chosen = table[["image", "offset", "bytes"]].iloc[rows]
    places, files = pd.factorize(chosen["image"])  # targets of one video share its images
    unique = chosen.drop_duplicates("image")
    known = _read_cache()
    jobs = zip(files, unique["offset"].tolist(), unique["bytes"].tolist(), strict=True)
    with ThreadPool(os.cpu_count()) as pool:
        results = pool.imap(lambda job: _check(root, known, most_mpx, *job), jobs, chunksize=32)
        bar = tqdm(results, "decode", len(files), disable=None, unit=" images", leave=False)
        found = list(bar)
    if any(key not in known for key, _ in found if key):
        _write_cache(known | {key: result for key, result in found if key})
    problems[rows] = np.array([result[0] for _, result in found], dtype=object)[places]
    prints[rows] = np.array([result[1] for _, result in found], dtype=np.uint64)[places]
    looks[rows] = np.array([result[2] for _, result in found], dtype=np.uint64)[places]
    return Checks(problems, prints, looks)


Result = tuple[str, int, int]  # problem, fingerprint, look


def _check(
    root: Path, known: dict[bytes, Result], most_mpx: float, name: str, offset: int, length: int
) -> tuple[bytes, Result]:
    """Check one image, or remember what was found of its content: the key of that, and the finding."""
    try:
        data = read_bytes(root, name, offset, length)
    except FileNotFoundError:
        return b"", (MISSING, 0, 0)
    except (OSError, DataError) as error:
        return b"", (str(error), 0, 0)
    key = blake2b(data, digest_size=16).digest()
    return key, known.get(key) or _examine(data, int.from_bytes(key[:8], "big"), most_mpx)


def _examine(data: bytes, fingerprint: int, most_mpx: float) -> Result:
    try:
        with _open(BytesIO(data)) as image:
            if (
                image.width * image.height > most_mpx * 1e6
            ):  # the header has changed since the index
                raise ValueError(f"{image.width}x{image.height} pixels are too many")
            image.draft("L", (64, 64))  # a JPEG is read to its end, at 1/8 scale little is computed
            grey = image.convert("L")
            low, high = grey.getextrema()
            small = np.asarray(grey.resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    except BROKEN as error:
        return str(error), 0, 0
    if low == high:
        return "", 0, 0
    return "", fingerprint, _look(small)


def _look(small: np.ndarray[Any, Any]) -> int:
    """Which of two neighbours is brighter, 64 times; 0 where most do not differ enough to tell."""
    step = np.diff(small, axis=1).ravel()
    return (
        int.from_bytes(np.packbits(step > 0).tobytes(), "big") if (abs(step) > 2).sum() > 32 else 0
    )


def _read_cache() -> dict[bytes, Result]:
    """What is known of images by the hash of their bytes; nothing when there is no readable cache."""
    try:
        rows = pd.read_parquet(CACHE)
        results = zip(rows["problem"], rows["print"].tolist(), rows["look"].tolist(), strict=True)
        return dict(zip(rows["key"], results, strict=True))
    except (OSError, ValueError, KeyError):
        return {}


def _write_cache(known: dict[bytes, Result]) -> None:
    """Keep what is known; a cache that cannot be written costs time only."""
    problems, prints, looks = zip(*known.values(), strict=True)
    rows = pd.DataFrame({"key": list(known), "problem": problems})
    rows["print"], rows["look"] = np.array(prints, np.uint64), np.array(looks, np.uint64)
    with suppress(OSError):
        artifacts.write_table(CACHE, rows)
