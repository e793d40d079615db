"""TLD: FOLDER/gt.txt beside a video, or beside numbered frames.

A row is left,top,right,bottom, NaN where the target is not visible; corners are read as continuous with
origin 0, so the width is right - left. There is no class. Format: Kalal et al.,
"Tracking-Learning-Detection", TPAMI 2012, and its data set.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from trackline.data import videos
from trackline.data.layouts.sequences import Clip, Target
from trackline.data.layouts.text import corners_to_xywh, parse_rows
from trackline.data.tree import Tree, number_images, read_split

BOXES = "gt.txt"
TOP = re.compile(r"[^/]*")  # where the annotation of a sequence lies, below the data set
AMODAL = True  # boxes may reach beyond the image


def find(tree: Tree) -> Iterator[Clip]:
    """Find gt.txt beside a video, frames or init.txt."""
    for folder, files in tree.holding(BOXES):
        images = number_images(files)
        film = next((name for name in sorted(files) if videos.is_video(name)), None)
        if film or images or "init.txt" in files:
            split, rest = read_split(folder)
            home = files[BOXES][0].path.rpartition("/")[0]
            notes = {"boxes": files[BOXES][0]}
            if film:
                home, notes["video"] = files[film][0].path, files[film][0]
            yield Clip(
                rest.rpartition("/")[2] or tree.name, split, home, images, notes, folder=rest
            )


def read(tree: Tree, clip: Clip) -> Iterator[Target]:
    """Read the one target of a sequence."""
    rows = parse_rows(tree.read_text(clip.notes["boxes"]), 4)
    absent = rows.readable & np.isnan(rows.values).all(axis=1)
    yield Target(clip.name, "", clip.notes["boxes"].path, corners_to_xywh(rows.values), ~absent)
