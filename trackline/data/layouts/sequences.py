"""What every layout yields: clips found, targets read, and their rows of the annotation table."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from trackline.data.images import read_size
from trackline.data.shards import Entry
from trackline.data.table import BOX
from trackline.data.tree import Tree
from trackline.errors import DataError

Array = np.ndarray[Any, Any]
Columns: TypeAlias = dict[str, Array]  # of the annotation table, each with a value a row
LONGEST_TARGET = 10_000_000  # frames; more is a typing error, not a video


@dataclass(frozen=True)
class Clip:
    """A stretch of footage as a layout found it; reading it gives a target, or several."""

    name: str
    split: str  # "" where the layout does not say
    home: str  # where its images lie, below the root; clips of one home stay in one split
    images: dict[int, list[Entry]]  # by number; two files may claim one number
    notes: dict[str, Entry]  # annotation files, by what they say
    first: int | None = (
        None  # number of the image that the first row is of; None: the reader finds out
    )
    label: str = ""  # the class, where names tell it
    folder: str = ""  # of its annotation, below the data set and its split


@dataclass(frozen=True)
class Target:
    """One target of a clip as its annotation has it: a row each, boxes in pixels with origin 0."""

    name: str
    label: str  # the class in the layout's words, "" where it has none
    file: str  # that the rows come from
    boxes_xywh: Array
    visible: Array
    cover: Array | None = None  # visible share, NaN where unknown
    numbers: Array | None = None  # of the images that rows belong to; None: image after image
    lines: Array | None = None  # of the file, from 1; None: row after row
    stated: dict[str, int] = field(default_factory=dict)  # width, height, frames, says a meta file


def tabulate(tree: Tree, clip: Clip, target: Target, dataset: str, label: str) -> Columns:
    """Pair rows and images: one row of the annotation table for each frame that has either."""
    rows = len(target.boxes_xywh)
    numbers, start = _number_rows(clip, target)
    _check_length(target, numbers)
    rows_of: dict[int, list[int]] = defaultdict(list)
    for row, number in enumerate(numbers.tolist()):
        rows_of[number].append(row)
    first, last = (numbers.min(), numbers.max()) if rows else (0, -1)
    whole = target.numbers is None or clip.first is None  # else: only what the target's rows span
    known = [n for n in clip.images if whole or first <= n <= last]
    triples = [
        (number, row, entry or guess(clip, number))
        for number in sorted({*known, *rows_of})
        for row in rows_of.get(number, [rows])
        for entry in clip.images.get(number, [None])
    ]
    at = np.array([row for _, row, _ in triples], dtype=np.int64)
    lines = np.arange(1, rows + 1) if target.lines is None else target.lines
    cover = np.full(rows, np.nan) if target.cover is None else target.cover
    same: dict[str, str | int] = {
        "dataset": dataset,
        "split": clip.split,
        "sequence": target.name,
        "class": label,
        "source": target.file,
        **{f"stated_{k}": target.stated.get(k, 0) for k in ("width", "height", "frames")},
        "footage_frames": len(clip.images),
    }
    return {
        "frame": np.array([number for number, _, _ in triples], dtype=np.int64) - start,
        **_describe_images(tree, [entry for _, _, entry in triples]),
        **dict(zip(BOX, pick(target.boxes_xywh, at).T, strict=True)),
        "visible": pick(target.visible.astype(np.float64), at) != 0,
        "cover": pick(cover, at),
        "line": np.append(lines, 0)[at],
        **{name: repeat(value, len(at)) for name, value in same.items()},
    }


def repeat(value: str | int | bool, rows: int) -> Array:
    """A column of one value."""
    return np.full(rows, value, dtype=object if isinstance(value, str) else type(value))


def guess(clip: Clip, number: int) -> Entry:
    """Name the image that is not there, after the pattern of its neighbours."""
    name = "00000001.jpg"
    if clip.images:
        name = next(iter(clip.images.values()))[0].path.rpartition("/")[2]
    stem, _, suffix = name.rpartition(".") if "." in name else (name, "", "")
    digits = len(stem) - len(stem.rstrip("0123456789"))
    named = f"{stem[: len(stem) - digits]}{number:0{digits}d}{'.' if suffix else ''}{suffix}"
    return Entry(f"{clip.home}/{named}".lstrip("/"), -1, -1)


def pick(values: Array, at: Array) -> Array:
    """Take rows by number, NaN beyond the last."""
    padded = np.concatenate([values, np.full((1, *values.shape[1:]), np.nan)])
    picked: Array = padded[np.minimum(at, len(values))]
    return picked


def fit(values: Array, rows: int) -> Array:
    """Cut or fill flags to a number of rows, NaN where they run out."""
    return pick(values, np.arange(rows)) if len(values) else np.full(rows, np.nan)


def _number_rows(clip: Clip, target: Target) -> tuple[Array, int]:
    """Give the image number of each row, and the number that is frame 0."""
    rows = len(target.boxes_xywh)
    if target.numbers is not None:
        numbers = np.asarray(target.numbers, dtype=np.int64)
        everything = [*clip.images, *numbers.tolist()] if clip.first is None else numbers.tolist()
        return numbers, int(min(everything, default=0))
    start = find_first(sorted(clip.images), rows) if clip.first is None else clip.first
    return np.arange(start, start + rows), start


def find_first(numbers: list[int], rows: int) -> int:
    """Tell which image number belongs to the first row.

    Most layouts start at 1 or 0. A clip cut from a longer video may start anywhere: it does when its
    numbers span exactly the annotated frames. Anything else is a first image gone missing.
    """
    if not numbers:
        return 1
    spans_rows = numbers[-1] - numbers[0] + 1 == rows
    return numbers[0] if spans_rows or numbers[0] == 0 else 1


def _check_length(target: Target, numbers: Array) -> None:
    if len(numbers) and (numbers.min() < 0 or numbers.max() >= LONGEST_TARGET):
        wrong = numbers.min() if numbers.min() < 0 else numbers.max()
        raise DataError(
            f"{target.file} speaks of frame {wrong}; "
            f"frames are numbered 0 to {LONGEST_TARGET - 1}: correct it"
        )


def _describe_images(tree: Tree, entries: list[Entry]) -> Columns:
    sizes = [(0, 0) if entry.bytes < 0 else read_size(tree.root, entry) for entry in entries]
    return {
        "image": np.array([entry.path for entry in entries], dtype=object),
        "offset": np.array([entry.offset for entry in entries], dtype=np.int64),
        "bytes": np.array([entry.bytes for entry in entries], dtype=np.int64),
        "width": np.array([width for width, _ in sizes], dtype=np.int32),
        "height": np.array([height for _, height in sizes], dtype=np.int32),
    }
