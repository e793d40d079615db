"""Reader of GOT-10k's layout: {train,val,test}/SEQUENCE/ with numbered frames and text annotations.

Sequence folders lie loose or in tar shards. Format: Huang et al., "GOT-10k", TPAMI 2021, and its toolkit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from configparser import ConfigParser
from configparser import Error as IniError
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from trackline.data import shards
from trackline.data.frames import read_bytes
from trackline.data.images import SUFFIXES, read_size
from trackline.data.shards import Entry
from trackline.data.table import BOX, COLUMNS
from trackline.errors import DataError, EmptyDataError

SPLITS = ("train", "val", "test")
BOXES, ABSENCE, COVER, META = "groundtruth.txt", "absence.label", "cover.label", "meta_info.ini"
LIST = "list.txt"  # names the sequences of a split
FULL_COVER = 8  # cover.label counts visible eighths of the target

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Folder:
    """One sequence as it lies on disk."""

    split: str
    name: str  # unique over all splits
    home: str  # the folder of its files, below the root
    notes: dict[str, Entry]  # annotation files by name
    images: dict[
        int, list[Entry]
    ]  # by the number in the file's name; two files may claim one number


def find(root: Path) -> list[Folder]:
    """List the sequences below root/{train,val,test} by split and name.

    Raises EmptyDataError when there is none, DataError for unsafe shards and images without a number.
    """
    files: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for split in SPLITS:
        for entry in shards.find(root, split):
            files[split, _name_sequence(split, entry)].append(entry)
    folders = [_sort_files(*key, files[key]) for key in sorted(files)]
    folders = [folder for folder in folders if folder.images or BOXES in folder.notes]
    if not folders:
        raise EmptyDataError(
            f"{root} holds no sequence; put GOT-10k sequence folders, or tar shards of them, "
            f"into {', '.join(f'{root}/{split}' for split in SPLITS)}"
        )
    return sorted(_rename_twins(folders), key=lambda folder: (folder.split, folder.name))


def find_lost(root: Path, folders: Sequence[Folder]) -> list[str]:
    """Name the sequences (SPLIT/NAME) that a split's list.txt promises and that are not there."""
    there = {(folder.split, PurePosixPath(folder.home).name) for folder in folders}
    lists = {split: root / split / LIST for split in SPLITS}
    texts = {
        split: file.read_text("utf-8-sig", errors="replace")
        for split, file in lists.items()
        if file.is_file()
    }
    promised = [(split, name.strip()) for split in texts for name in texts[split].split("\n")]
    return [f"{split}/{name}" for split, name in promised if name and (split, name) not in there]


def read(root: Path, folder: Folder) -> pd.DataFrame:
    """Read one sequence as rows of the annotation table, one for each frame that has a box or an image."""
    boxes = parse_boxes(_read_note(root, folder, BOXES))
    start = _number_first(sorted(folder.images), len(boxes))
    images = {number - start: found for number, found in folder.images.items()}
    pairs = [(k, e) for k in sorted({*images, *range(len(boxes))}) for e in images.get(k, [None])]
    frames = np.array([frame for frame, _ in pairs], dtype=np.int64)
    entries = [e or Entry(f"{folder.home}/{frame + start:08d}.jpg", -1, -1) for frame, e in pairs]
    absent = _pick(parse_labels(_read_note(root, folder, ABSENCE)), frames)
    cover = _pick(parse_labels(_read_note(root, folder, COVER)), frames) / FULL_COVER
    return pd.DataFrame(
        {
            "split": folder.split,
            "sequence": folder.name,
            "frame": frames,
            **_describe_images(root, entries),
            **dict(zip(BOX, _pick(boxes, frames).T, strict=True)),
            "visible": ~(absent >= 1),
            "cover": cover,
            "class": parse_class(_read_note(root, folder, META)),
            "source": _name_lines(folder, frames, len(boxes)),
        }
    ).astype(COLUMNS)


def parse_boxes(text: str) -> Array:
    """Parse one box a line, split by commas or blanks, to [lines, 4]; NaN where a line is anything else."""
    boxes = [_parse_floats(line.replace(",", " ").split()) for line in _split_lines(text)]
    return np.array([box if len(box) == 4 else [np.nan] * 4 for box in boxes]).reshape(-1, 4)


def parse_labels(text: str) -> Array:
    """Parse one number a line to [lines]; NaN where a line is anything else."""
    labels = [_parse_floats([line]) for line in _split_lines(text)]
    return np.array([label[0] if label else np.nan for label in labels], dtype=np.float64)


def parse_class(text: str) -> str:
    """Find object_class in meta_info.ini; empty when it is not there."""
    parser = ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(text)
    except IniError:
        return ""
    return next((parser[s]["object_class"] for s in parser if "object_class" in parser[s]), "")


def _name_sequence(split: str, entry: Entry) -> str:
    """Name the folder below the split or the shard; files at the very top take the name of that."""
    inside = entry.member if entry.offset >= 0 else entry.path.partition("/")[2]
    top = PurePosixPath(entry.container).stem if entry.offset >= 0 else split
    return inside.rpartition("/")[0] or top


def _sort_files(split: str, name: str, entries: list[Entry]) -> Folder:
    notes: dict[str, Entry] = {}
    images: dict[int, list[Entry]] = defaultdict(list)
    for entry in entries:
        stem, dot, suffix = entry.path.rpartition("/")[2].rpartition(".")
        if (dot + suffix).lower() not in SUFFIXES:
            notes.setdefault(stem + dot + suffix, entry)
        elif stem.isdecimal():
            images[int(stem)].append(entry)
        else:
            raise DataError(
                f"{entry.path} has no frame number for a name; "
                "frames are called 00000001.jpg and so on: rename it or take it out of the folder"
            )
    return Folder(split, name, entries[0].path.rpartition("/")[0], notes, dict(images))


def _rename_twins(folders: Sequence[Folder]) -> Iterator[Folder]:
    """Put the split before names that occur in more than one."""
    splits = defaultdict(set)
    for folder in folders:
        splits[folder.name].add(folder.split)
    for folder in folders:
        twin = len(splits[folder.name]) > 1
        yield replace(folder, name=f"{folder.split}-{folder.name}") if twin else folder


def _number_first(numbers: list[int], rows: int) -> int:
    """Tell which image number belongs to the first box.

    GOT-10k starts at 1. A clip cut from a longer video may start anywhere: it does when its numbers
    span exactly the annotated frames. Anything else is a first image gone missing.
    """
    if not numbers:
        return 1
    spans_rows = numbers[-1] - numbers[0] + 1 == rows
    return numbers[0] if spans_rows or numbers[0] == 0 else 1


def _describe_images(root: Path, entries: list[Entry]) -> dict[str, list[Any]]:
    sizes = [(0, 0) if entry.bytes < 0 else read_size(root, entry) for entry in entries]
    return {
        "image": [entry.path for entry in entries],
        "offset": [entry.offset for entry in entries],
        "bytes": [entry.bytes for entry in entries],
        "width": [width for width, _ in sizes],
        "height": [height for _, height in sizes],
    }


def _name_lines(folder: Folder, frames: Array, rows: int) -> list[str]:
    """Give file and line of each annotation, and the file alone for a frame that has none."""
    file = f"{folder.home}/{BOXES}"
    return [f"{file}:{frame + 1}" if frame < rows else file for frame in frames]


def _pick(values: Array, frames: Array) -> Array:
    """Take one row a frame, NaN beyond the last."""
    padded = np.concatenate([values, np.full((1, *values.shape[1:]), np.nan)])
    picked: Array = padded[np.minimum(frames, len(values))]
    return picked


def _read_note(root: Path, folder: Folder, name: str) -> str:
    entry = folder.notes.get(name)
    if entry is None:
        return ""
    data = read_bytes(root, entry.path, entry.offset, entry.bytes)
    return data.decode("utf-8-sig", errors="replace")


def _split_lines(text: str) -> list[str]:
    """Split into lines; an empty one inside the file counts, those at its end do not."""
    text = text.replace("\r\n", "\n").rstrip()
    return text.split("\n") if text else []


def _parse_floats(words: list[str]) -> list[float]:
    try:
        return [float(word) for word in words]
    except ValueError:
        return []
