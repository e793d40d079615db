"""Our own, for people who have nothing: a folder of frames or a video, boxes.csv and class.txt.

boxes.csv has a header: frame,x,y,w,h and perhaps visible; frames count from 0, boxes are in pixels with
origin 0. A frame with visible 0, or with nothing between the commas, has no target. class.txt holds one
word. Several targets of one video lie beside it as NAME.csv. The page docs/own-data.md shows it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

import numpy as np

from trackline.data import videos
from trackline.data.layouts.sequences import LONGEST_TARGET, Clip, Target
from trackline.data.layouts.text import parse_line
from trackline.data.shards import Entry
from trackline.data.tree import Tree, number_images, read_split
from trackline.errors import DataError

BOXES, CLASS = "boxes.csv", "class.txt"
BOX = ("x", "y", "w", "h")
FRAMES = ("", "frames", "img", "images")  # where frames may lie, below the folder
TOP = re.compile(r"[^/]*")  # where the annotation of a sequence lies, below the data set


def find(tree: Tree) -> Iterator[Clip]:
    """Find boxes.csv, or a table named after the video that lies beside it."""
    for folder, files in sorted(tree.folders.items()):
        films = {name.rpartition(".")[0]: name for name in files if videos.is_video(name)}
        for file in sorted(files):
            stem, _, suffix = file.rpartition(".")
            if file == BOXES or (suffix == "csv" and stem in films):
                split, rest = read_split(folder)
                notes = {"boxes": files[file][0]}
                notes |= {"class": files[CLASS][0]} if CLASS in files else {}
                film = films.get(stem) or (min(films.values()) if films else None)
                images = _find_images(tree, folder) if not film else {}
                home = notes["boxes"].path.rpartition("/")[0]
                if film:
                    home, notes["video"] = files[film][0].path, files[film][0]
                elif images:
                    home = next(iter(images.values()))[0].path.rpartition("/")[0]
                name = (rest.rpartition("/")[2] or tree.name) if file == BOXES else stem
                yield Clip(name, split, home, images, notes, folder=rest)


def read(tree: Tree, clip: Clip) -> Iterator[Target]:
    """Read the one target of a table; raises DataError when a column is missing or a frame has no number."""
    rows = csv.DictReader(tree.read_text(clip.notes["boxes"]).split("\n"), skipinitialspace=True)
    try:
        target = _read_table(tree, clip, rows)
    except csv.Error as error:
        place = f"{clip.notes['boxes'].path}:{rows.line_num}"
        raise DataError(f"{place} is no row of a table ({error}); correct it") from None
    yield target


def _read_table(tree: Tree, clip: Clip, rows: csv.DictReader[str]) -> Target:
    file = clip.notes["boxes"].path
    names = [(name or "").strip().lower() for name in rows.fieldnames or []]
    if missing := [name for name in ("frame", *BOX) if name not in names]:
        raise DataError(
            f"{file} has no column {', '.join(missing)}; its first line names them: frame,x,y,w,h,visible"
        )
    rows.fieldnames = names
    numbers, boxes, visible, lines = [], [], [], []
    for row in rows:
        cells = [row.get(name) or "" for name in BOX]
        words = [parse_line(cell) for cell in cells]
        number = parse_line(row["frame"] or "")
        if len(number) != 1 or not number[0].is_integer() or not 0 <= number[0] < LONGEST_TARGET:
            raise DataError(
                f"{file}:{rows.line_num} names the frame {row['frame']!r}; frames are counted 0, 1, 2 ..."
            )
        empty = not any(cell.strip() for cell in cells)
        numbers.append(int(number[0]))
        boxes.append([word[0] if len(word) == 1 else np.nan for word in words])
        visible.append(
            not empty and (row.get("visible") or "1").strip().lower() not in ("0", "false")
        )
        lines.append(rows.line_num)
    first = min(clip.images, default=0)
    target = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    label = " ".join(tree.read_text(clip.notes.get("class")).split())
    shown = np.array(visible, dtype=bool)
    at = np.array(numbers, dtype=np.int64) + first
    return Target(clip.name, label, file, target, shown, numbers=at, lines=np.array(lines))


def _find_images(tree: Tree, folder: str) -> dict[int, list[Entry]]:
    found = (number_images(tree.files(f"{folder}/{seat}".strip("/"))) for seat in FRAMES)
    return next((images for images in found if images), {})
