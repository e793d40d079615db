"""VOT: SEQUENCE/groundtruth.txt with polygons, frames beside it or in color/.

A row is x1,y1,...,x4,y4 (or x,y,w,h in early years), NaN where the target is absent; a target's box is
the extent of its polygon. There is no class. Format: Kristan et al., "A Novel Performance Evaluation
Methodology", TPAMI 2016. Masks of later years (rows that begin with m) are not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from trackline.data.layouts.sequences import Clip, Target
from trackline.data.layouts.text import parse_line, parse_rows, split_lines
from trackline.data.tree import Tree, number_images, read_split
from trackline.errors import DataError

BOXES = "groundtruth.txt"
TOP = re.compile(r"[^/]*")  # where the annotation of a sequence lies, below the data set


def find(tree: Tree) -> Iterator[Clip]:
    """Find groundtruth.txt whose first row is a polygon, or that has its frames in color/."""
    for folder, files in tree.holding(BOXES):
        colour = f"{folder}/color".lstrip("/")
        first = split_lines(tree.read_text(files[BOXES][0])[:400])[:1]
        polygon = bool(first) and (first[0].startswith("m") or len(parse_line(first[0])) >= 6)
        if polygon or colour in tree.folders:
            split, rest = read_split(folder)
            images = number_images(tree.files(colour if colour in tree.folders else folder))
            home = files[BOXES][0].path.rpartition("/")[0]
            name = rest.rpartition("/")[2] or tree.name
            yield Clip(name, split, home, images, {"boxes": files[BOXES][0]}, folder=rest)


def read(tree: Tree, clip: Clip) -> Iterator[Target]:
    """Read the one target of a sequence; raises DataError for masks."""
    text = tree.read_text(clip.notes["boxes"])
    file = clip.notes["boxes"].path
    if text.startswith("m"):
        raise DataError(f"{file} holds masks, VOT's format since 2020; convert it to polygons")
    columns = len(parse_line(next(iter(split_lines(text)), ""))) or 8
    rows = parse_rows(text, max(columns - columns % 2, 4))
    absent = rows.readable & np.isnan(rows.values).all(axis=1)
    boxes = rows.values if columns == 4 else enclose(rows.values)
    yield Target(clip.name, "", file, boxes, ~absent)


def enclose(polygons: np.ndarray) -> np.ndarray:
    """Give the extents x, y, w, h of polygons x1, y1, x2, y2, ... [rows, 2 × corners]."""
    corners = polygons.reshape(len(polygons), polygons.shape[1] // 2, 2)
    low, high = corners.min(axis=1), corners.max(axis=1)
    return np.concatenate([low, high - low], axis=1)
