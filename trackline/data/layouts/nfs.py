"""Need for Speed: NAME/{30,240}/NAME.txt with frames in NAME/{30,240}/NAME/00001.jpg.

A row is VATIC's: target, left, top, right, bottom, frame, lost, occluded, generated, "label"; the origin
is 0. At 30 frames a second the rows may still be those of 240, of which each eighth counts. Format:
Kiani Galoogahi et al., "Need for Speed", ICCV 2017, and VATIC's documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from trackline.data.layouts.sequences import Clip, Target
from trackline.data.layouts.text import corners_to_xywh, parse_line, split_lines
from trackline.data.tree import Tree, number_images, read_split

RATE = 8  # frames at 240 a second for one at 30
TOP = re.compile(r"[^/]+/(?:30|240)")  # where the annotation of a sequence lies, below the data set


def find(tree: Tree) -> Iterator[Clip]:
    """Find NAME.txt beside the folder NAME, both below 30 or 240; of both rates the lower one."""
    for folder, files in sorted(tree.folders.items()):
        above, _, rate = folder.rpartition("/")
        twin = f"{above}/30" in tree.folders
        if rate not in ("30", "240") or (rate == "240" and twin):
            continue
        for file in sorted(files):
            images = number_images(tree.files(f"{folder}/{file.removesuffix('.txt')}"))
            if file.endswith(".txt") and images:
                split, rest = read_split(folder)
                entry = files[file][0]
                home = next(iter(images.values()))[0].path.rpartition("/")[0]
                yield Clip(
                    file.removesuffix(".txt"), split, home, images, {"boxes": entry}, folder=rest
                )


def read(tree: Tree, clip: Clip) -> Iterator[Target]:
    """Read the one target of a sequence."""
    lines = split_lines(tree.read_text(clip.notes["boxes"]))
    step = RATE if abs(len(lines) / max(len(clip.images), 1) - RATE) < 1 else 1
    rows = [parse_line(_cut_label(line)) for line in lines[::step]]
    values = np.array([row[:9] if len(row) >= 9 else [np.nan] * 9 for row in rows]).reshape(-1, 9)
    labels = re.findall(r'"([^"]*)"', lines[0] if lines else "")
    boxes, lost = corners_to_xywh(values[:, 1:5]), values[:, 6] >= 1
    numbers = np.arange(1, len(lines) + 1)[::step]
    file = clip.notes["boxes"].path
    yield Target(clip.name, labels[0] if labels else "", file, boxes, ~lost, lines=numbers)


def _cut_label(line: str) -> str:
    return line.partition('"')[0]
