"""MOTChallenge: VIDEO/gt/gt.txt and seqinfo.ini with frames in VIDEO/img1/000001.jpg.

A row is frame,target,x,y,w,h,conf,class,visibility whose first pixel is (1, 1); MOT15 has -1 for class and
visibility. Each target becomes a sequence of its own, from where it is first seen to where it is last,
absent in between where it has no row or a visibility of 0. Rows with conf 0 are what the benchmark
ignores: a target that has no others is left out. Format: Milan et al., "MOT16", 2016.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from configparser import ConfigParser
from configparser import Error as IniError

import numpy as np

from trackline.data.layouts.sequences import LONGEST_TARGET, Array, Clip, Target
from trackline.data.layouts.text import move_origin, parse_line, split_lines
from trackline.data.shards import Entry
from trackline.data.tree import Tree, number_images, read_split
from trackline.errors import DataError

CLASSES = (
    "", "pedestrian", "person on vehicle", "car", "bicycle", "motorbike", "non-motorised vehicle",
    "static person", "distractor", "occluder", "occluder on the ground", "full occluder", "reflection",
    "crowd",
)  # fmt: skip
STATED = {"imwidth": "width", "imheight": "height", "seqlength": "frames"}
TOP = re.compile(r"[^/]*/?gt")  # where the annotation of a sequence lies, below the data set
AMODAL = True  # boxes may reach beyond the image


def find(tree: Tree) -> Iterator[Clip]:
    """Find folders that hold gt/gt.txt."""
    for folder, files in tree.holding("gt.txt"):
        above, _, last = f"/{folder}".rpartition("/")
        if last == "gt":
            video = above.lstrip("/")
            split, rest = read_split(video)
            notes = {"boxes": files["gt.txt"][0]}
            if info := tree.get(f"{video}/seqinfo.ini".lstrip("/")):
                notes["info"] = info
            images = number_images(tree.files(f"{video}/img1".lstrip("/")))
            home = f"{notes['boxes'].path.rpartition('gt/gt.txt')[0]}img1"
            yield Clip(
                rest.rpartition("/")[2] or tree.name,
                split,
                home,
                images,
                notes,
                1,
                folder=f"{rest}/gt",
            )


def read(tree: Tree, clip: Clip) -> Iterator[Target]:
    """Read every target of a video that the benchmark counts."""
    stated = parse_info(tree.read_text(clip.notes.get("info")))
    lines = split_lines(tree.read_text(clip.notes["boxes"]))
    parsed = [
        (number, parse_line(line)) for number, line in enumerate(lines, start=1) if line.strip()
    ]
    for number, row in parsed:
        if not _is_row(row):
            raise DataError(
                f"{clip.notes['boxes'].path}:{number} is {lines[number - 1][:60]!r}; "
                "a row is frame,target,x,y,w,h,conf,class,visibility: correct or delete it"
            )
    values = np.array([[*row[:9], *[-1] * (9 - len(row))] for _, row in parsed]).reshape(-1, 9)
    at = np.array([number for number, _ in parsed], dtype=np.int64)
    _check_spread(values, clip.notes["boxes"].path)
    for identity in np.unique(values[:, 1]):
        mine = np.flatnonzero(values[:, 1] == identity)
        mine = mine[np.argsort(values[mine, 0], kind="stable")]
        if _is_seen(values[mine]).any():
            name = f"{clip.name}-{int(identity):04d}"
            yield _read_target(clip.notes["boxes"], name, values[mine], at[mine], stated)


def parse_info(text: str) -> dict[str, int]:
    """Find width, height and number of frames in seqinfo.ini; nothing where they are not there."""
    parser = ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(text)
    except IniError:
        return {}
    said = {key: value for section in parser for key, value in parser[section].items()}
    return {
        name: int(said[key])
        for key, name in STATED.items()
        if re.fullmatch(r"[0-9]{1,9}", said.get(key, ""))
    }


def _check_spread(values: Array, file: str) -> None:
    """Refuse targets that a few rows stretch over more frames than fit into memory."""
    targets, places = np.unique(values[:, 1], return_inverse=True)
    first, last = np.full(len(targets), np.inf), np.full(len(targets), -np.inf)
    np.minimum.at(first, places, values[:, 0])
    np.maximum.at(last, places, values[:, 0])
    if (spread := (last - first + 1).sum()) > LONGEST_TARGET:
        longest = int((last - first).argmax())
        raise DataError(
            f"{file} stretches its targets over {spread:,.0f} frames, target {targets[longest]:g} from "
            f"{first[longest]:.0f} to {last[longest]:.0f}; {LONGEST_TARGET:,} is the most: correct it"
        )


def _is_row(row: list[float]) -> bool:
    return len(row) >= 6 and all(np.isfinite(row[:2])) and 0 <= row[0] < LONGEST_TARGET


def _is_seen(values: Array) -> Array:
    seen: Array = (values[:, 6] != 0) & (values[:, 8] != 0)
    return seen


def _read_target(
    file: Entry, name: str, values: Array, lines: Array, stated: dict[str, int]
) -> Target:
    """Spread the rows of one target over its frames; a frame without a row is absent."""
    counted = np.flatnonzero(_is_seen(values))
    values, lines = values[counted[0] : counted[-1] + 1], lines[counted[0] : counted[-1] + 1]
    there = values[:, 0].astype(np.int64)
    numbers = np.concatenate([np.arange(there[0], there[-1] + 1), there[1:][np.diff(there) == 0]])
    numbers.sort()
    row = np.searchsorted(there, numbers, side="left")
    row += np.arange(len(numbers)) - np.searchsorted(numbers, numbers, side="left")  # twins in turn
    held = there[np.minimum(row, len(there) - 1)] == numbers
    row = np.where(held, row, np.searchsorted(there, numbers) - 1)
    boxes = np.where(held[:, None], move_origin(values[row, 2:6]), 0.0)
    seen = held & _is_seen(values)[row]
    cover = np.where(held & (values[row, 8] >= 0), values[row, 8], np.where(held, np.nan, 0.0))
    kind = int(values[0, 7]) if np.isfinite(values[0, 7]) else -1
    label = "pedestrian" if kind == -1 else CLASSES[kind] if 0 < kind < len(CLASSES) else ""
    return Target(name, label, file.path, boxes, seen, cover, numbers, lines[row], stated)
