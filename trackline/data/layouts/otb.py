"""OTB and DTB70: SEQUENCE/groundtruth_rect.txt with frames in SEQUENCE/img/.

Boxes are x,y,w,h whose first pixel is (1, 1), split by commas, tabs or blanks; several targets have
groundtruth_rect.1.txt and so on. There is no class. Formats: Wu et al., "Object Tracking Benchmark",
TPAMI 2015; Li & Yeung, "Visual Object Tracking for UAVs", AAAI 2017.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from trackline.data.layouts.sequences import Clip, Target
from trackline.data.layouts.text import move_origin, parse_boxes
from trackline.data.tree import Tree, number_images, read_split

BOXES = re.compile(r"groundtruth_rect(?:\.(\d+))?\.txt")
# Where the first row is not that of the first image: the benchmark's own sequence list.
STARTS = {"David": 300, "BlurCar1": 247, "BlurCar3": 3, "BlurCar4": 18}
TOP = re.compile(r"[^/]*")  # where the annotation of a sequence lies, below the data set


def find(tree: Tree) -> Iterator[Clip]:
    """Find folders with groundtruth_rect.txt."""
    for folder, files in sorted(tree.folders.items()):
        for file in sorted(files):
            if match := BOXES.fullmatch(file):
                split, rest = read_split(folder)
                name = rest.rpartition("/")[2] or tree.name
                images = number_images(tree.files(f"{folder}/img".lstrip("/")))
                home = f"{files[file][0].path.rpartition('/')[0]}/img".lstrip("/")
                title = f"{name}-{match[1]}" if match[1] else name
                first = STARTS.get(name) if STARTS.get(name) in images else None
                yield Clip(
                    title, split, home, images, {"boxes": files[file][0]}, first, folder=rest
                )


def read(tree: Tree, clip: Clip) -> Iterator[Target]:
    """Read the one target of a sequence."""
    boxes = move_origin(parse_boxes(tree.read_text(clip.notes["boxes"])))
    yield Target(clip.name, "", clip.notes["boxes"].path, boxes, np.ones(len(boxes), dtype=bool))
