"""UAV123, UAV20L and UAV123@10fps: anno/[SET/]NAME.txt with frames in data_seq/[SET/]FOLDER/000001.jpg.

Boxes are x,y,w,h whose first pixel is (1, 1), NaN where the target is hidden or out of view. A numbered
part (car1_2) shares the folder of its video and starts in the middle of it. The name begins with the
class. Format: Mueller et al., "A Benchmark and Simulator for UAV Tracking", ECCV 2016, and its list of
sequences.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from trackline.data.layouts.sequences import Clip, Target
from trackline.data.layouts.text import move_origin, parse_rows
from trackline.data.tree import Tree, number_images

NAME = re.compile(
    r"(bike|bird|boat|building|car|group|person|truck|uav|wakeboard)(\d+)(_s)?(?:_(\d+))?"
)
# First frames of the parts at 30 frames a second; at 10 they are (start - 1) / 3 + 1.
STARTS = {
    "bird1": (1, 775, 1573),
    "car1": (1, 751, 1627),
    "car6": (1, 487, 1807, 2953, 3925),
    "car8": (1, 1357),
    "car16": (1, 415),
    "group1": (1, 1333, 2515, 3925),
    "group2": (1, 907, 1771),
    "group3": (1, 1567, 2827, 4369),
    "person2": (1, 1189),
    "person4": (1, 1501),
    "person5": (1, 877),
    "person7": (1, 1249),
    "person8": (1, 1075),
    "person12": (1, 601),
    "person14": (1, 847, 1813),
    "person17": (1, 1501),
    "person19": (1, 1243, 2791),
    "truck4": (1, 577),
    "uav1": (1, 1555, 2473),
}
TOP = re.compile(
    r"(?:anno(?:/.*)?)?"
)  # where the annotation of a sequence lies, below the data set


def find(tree: Tree) -> Iterator[Clip]:
    """Find anno/ beside data_seq/, or bare annotations with the benchmark's names."""
    for folder, files in sorted(tree.folders.items()):
        parts = folder.split("/")
        if "anno" in parts and "data_seq" in tree.tops:
            seats = "/".join("data_seq" if part == "anno" else part for part in parts)
        elif folder == "" and not any(name in tree.tops for name in ("anno", "absent")):
            seats = "data_seq"
        else:
            continue
        for file in sorted(files):
            if file.endswith(".txt") and (match := NAME.fullmatch(file[:-4])):
                yield _find_clip(tree, seats, match, file, folder)


def read(tree: Tree, clip: Clip) -> Iterator[Target]:
    """Read the one target of a sequence."""
    rows = parse_rows(tree.read_text(clip.notes["boxes"]), 4)
    absent = rows.readable & np.isnan(rows.values).all(axis=1)
    boxes = move_origin(rows.values)
    yield Target(clip.name, clip.label, clip.notes["boxes"].path, boxes, ~absent)


def _find_clip(tree: Tree, seats: str, match: re.Match[str], file: str, folder: str) -> Clip:
    name, video = match[0], f"{match[1]}{match[2]}{match[3] or ''}"
    own = f"{seats}/{name}" in tree.folders
    entry = tree.files(folder)[file][0]
    images = number_images(tree.files(f"{seats}/{name if own else video}"))
    home = next(iter(images.values()))[0].path.rpartition("/")[0] if images else f"{seats}/{video}"
    first = None
    if match[4] and not own and len(STARTS.get(video, ())) >= int(match[4]) > 0:
        start = STARTS[video][int(match[4]) - 1]
        slow = "10fps" in f"{tree.name}/{folder}" or max(images, default=0) < STARTS[video][-1]
        first = (start - 1) // 3 + 1 if slow else start
    if first is not None:
        rows = len(tree.read_text(entry).split())
        images = {n: e for n, e in images.items() if first <= n < first + rows}
    return Clip(name, "", home, images, {"boxes": entry}, first, match[1], folder)
