"""DAVIS: JPEGImages/480p/SEQUENCE/00000.jpg with masks in Annotations/480p/SEQUENCE/00000.png.

Each object of the masks becomes a target, its box the tight extent of its pixels with origin 0, and it
is absent from masks without it. Masks are black and white, or have an index for each object; 255 among
other indices means void. There is no class. Format: Perazzi et al., CVPR 2016; Pont-Tuset et al., 2017.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO

import numpy as np
from PIL import Image

from trackline.data.frames import read_bytes
from trackline.data.images import BROKEN, MOST_PIXELS
from trackline.data.layouts.sequences import Array, Clip, Target
from trackline.data.layouts.text import split_lines
from trackline.data.shards import Entry
from trackline.data.tree import SPLITS, Tree, number_images
from trackline.errors import DataError

VOID = 255
TOP = re.compile(
    r"Annotations(?:/.*)?"
)  # where the annotation of a sequence lies, below the data set


def find(tree: Tree) -> Iterator[Clip]:
    """Find folders below Annotations/ with a twin below JPEGImages/."""
    for folder in sorted(tree.folders):
        head, middle, tail = f"/{folder}".partition("/Annotations/")
        frames = f"{head}/JPEGImages/{tail}".lstrip("/")
        if middle and frames in tree.folders:
            images, masks = number_images(tree.files(frames)), number_images(tree.files(folder))
            notes = {str(number): entries[0] for number, entries in masks.items()}
            home = next(iter(images.values()))[0].path.rpartition("/")[0] if images else frames
            name = folder.rpartition("/")[2]
            yield Clip(
                name, _find_split(tree, head.lstrip("/"), name), home, images, notes, folder=folder
            )


def read(tree: Tree, clip: Clip) -> Iterator[Target]:
    """Read the objects of a sequence; one alone takes its name, several add their index."""
    numbers = np.array(sorted(map(int, clip.notes)))
    boxes = [measure(load(tree, clip.notes[str(number)])) for number in numbers]
    objects = sorted({index for found in boxes for index in found})
    if len(objects) > 1:
        objects = [index for index in objects if index != VOID]
    file = clip.notes[str(numbers[0])].path.rpartition("/")[0] if len(numbers) else clip.home
    nothing = (0.0, 0.0, 0.0, 0.0)
    for index in objects:
        rows = np.array([found.get(index, nothing) for found in boxes])
        name = clip.name if len(objects) == 1 else f"{clip.name}-{index}"
        visible = np.array([index in found for found in boxes])
        yield Target(name, "", file, rows, visible, numbers=numbers, lines=numbers + 1)


def load(tree: Tree, entry: Entry) -> Array:
    """Decode a mask to indices [height, width]; raises DataError when it is not one."""
    try:
        data = read_bytes(tree.root, entry.path, entry.offset, entry.bytes)
        with Image.open(BytesIO(data), formats=("PNG",)) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(f"{image.width}x{image.height} pixels are too many")
            return np.array(image if image.mode in ("P", "L") else image.convert("L"))
    except BROKEN as error:
        raise DataError(
            f"{entry.path} is not a readable mask ({error}); replace it or drop its sequence"
        ) from None


def measure(mask: Array) -> dict[int, tuple[float, float, float, float]]:
    """Give the tight extent x, y, w, h of each index but 0 in a mask [height, width]."""
    found = {}
    for index in np.unique(mask):
        if index:
            rows, columns = (
                np.flatnonzero((mask == index).any(1)),
                np.flatnonzero((mask == index).any(0)),
            )
            x, y = float(columns[0]), float(rows[0])
            found[int(index)] = (x, y, columns[-1] + 1 - x, rows[-1] + 1 - y)
    return found


def _find_split(tree: Tree, head: str, name: str) -> str:
    """Look the name up in ImageSets/YEAR/{train,val}.txt."""
    for folder in tree.folders:
        if folder.startswith(f"{head}/ImageSets".lstrip("/")):
            for split in SPLITS:
                lines = split_lines(tree.read_text(tree.get(f"{folder}/{split}.txt")))
                if any(name in line.replace("/", " ").split() for line in lines):
                    return split
    return ""
