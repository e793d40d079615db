"""TrackingNet: {TRAIN_0 ... TRAIN_11,TEST}/anno/VIDEO.txt with frames in frames/VIDEO/0.jpg and so on.

Boxes are x,y,w,h with origin 0. There is no class; of the test split only the first frame is annotated.
Format: Müller et al., "TrackingNet", ECCV 2018, and its development kit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from trackline.data.layouts.sequences import Clip, Target
from trackline.data.layouts.text import parse_boxes
from trackline.data.tree import Tree, number_images

VIDEO = re.compile(r"[\w-]{11}_\d+")  # YouTube's name and the number of the target
TOP = re.compile(
    r"(?:TRAIN_\d+/|TEST/|train/|val/|test/)?anno"
)  # where the annotation of a sequence lies, below the data set
AMODAL = True  # boxes may reach beyond the image


def find(tree: Tree) -> Iterator[Clip]:
    """Find anno/ beside frames/, or with names of TrackingNet's videos in it."""
    for folder, files in sorted(tree.folders.items()):
        top, _, last = f"/{folder}".rpartition("/")
        part = top.lstrip("/")
        for file in sorted(files) if last == "anno" else ():
            name, _, suffix = file.rpartition(".")
            frames = f"{part}/frames/{name}".lstrip("/")
            if suffix == "txt" and (frames in tree.folders or VIDEO.fullmatch(name)):
                entry = files[file][0]
                home = f"{entry.path.rpartition('anno/')[0]}frames/{name}"
                split = _name_split(part)
                yield Clip(
                    name,
                    split,
                    home,
                    number_images(tree.files(frames)),
                    {"boxes": entry},
                    0,
                    folder=folder,
                )


def read(tree: Tree, clip: Clip) -> Iterator[Target]:
    """Read the one target of a video."""
    boxes = parse_boxes(tree.read_text(clip.notes["boxes"]))
    yield Target(clip.name, "", clip.notes["boxes"].path, boxes, np.ones(len(boxes), dtype=bool))


def _name_split(part: str) -> str:
    last = part.rpartition("/")[2].lower()
    return "train" if last.startswith("train") else "test" if last == "test" else ""
