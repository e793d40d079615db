"""LaSOT: [CLASS/]CLASS-NUMBER/ with groundtruth.txt, full_occlusion.txt, out_of_view.txt and img/.

Boxes are x,y,w,h whose first pixel is (1, 1); the flags of all frames stand on one line, and the target
is absent where either is 1. The evaluation toolkit's bare annotations (NAME.txt, absent/NAME.txt) are
read too. Format: Fan et al., "LaSOT", CVPR 2019, and its toolkit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from trackline.data.layouts.sequences import Clip, Target, fit
from trackline.data.layouts.text import move_origin, parse_boxes, parse_flags, split_lines
from trackline.data.tree import Tree, number_images, read_split

BOXES, FLAGS = "groundtruth.txt", ("full_occlusion.txt", "out_of_view.txt")
TESTS = "testing_set.txt"  # names the sequences of the test split
TOP = re.compile(
    r"(?:([^/]+)/(?=\1-))?[^/]*"
)  # where the annotation of a sequence lies, below the data set
AMODAL = True  # boxes may reach beyond the image


def find(tree: Tree) -> Iterator[Clip]:
    """Find sequence folders by their frames in img/ or their flags, and bare annotations."""
    tests = set(split_lines(tree.read_text(tree.get(TESTS))))
    for folder, files in tree.holding(BOXES):
        frames = f"{folder}/img".lstrip("/")
        if frames in tree.folders or any(flag in files for flag in FLAGS):
            split, rest = read_split(folder)
            name = rest.rpartition("/")[2] or tree.name
            split = split or (("test" if name in tests else "train") if tests else "")
            notes = {n: files[n][0] for n in (BOXES, *FLAGS) if n in files}
            home = f"{notes[BOXES].path.rpartition('/')[0]}/img".lstrip("/")
            images, label = number_images(tree.files(frames)), _name_class(name)
            yield Clip(name, split, home, images, notes, None, label, rest)
    yield from _find_bare(tree)


def read(tree: Tree, clip: Clip) -> Iterator[Target]:
    """Read the one target of a sequence."""
    boxes = move_origin(parse_boxes(tree.read_text(clip.notes[BOXES])))
    absent = np.zeros(len(boxes), dtype=bool)
    for name in FLAGS:
        absent |= fit(parse_flags(tree.read_text(clip.notes.get(name))), len(boxes)) >= 1
    yield Target(clip.name, clip.label, clip.notes[BOXES].path, boxes, ~absent)


def _find_bare(tree: Tree) -> Iterator[Clip]:
    for file in sorted(set(tree.files("")) & set(tree.files("absent"))):
        entry, absent = tree.files("")[file][0], tree.files("absent")[file][0]
        name = file.rpartition(".")[0]
        yield Clip(name, "", name, {}, {BOXES: entry, FLAGS[0]: absent}, label=_name_class(name))


def _name_class(sequence: str) -> str:
    return sequence.rpartition("-")[0]
