"""GOT-10k: {train,val,test}/SEQUENCE/ with numbered frames and text annotations beside them.

Boxes are x,y,w,h with origin 0; absence.label says 1 where the target is absent, cover.label counts the
visible eighths. Format: Huang et al., "GOT-10k", TPAMI 2021, and its toolkit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from configparser import ConfigParser
from configparser import Error as IniError

from trackline.data.layouts.sequences import Clip, Target, fit
from trackline.data.layouts.text import parse_boxes, parse_labels, parse_line, split_lines
from trackline.data.tree import SPLITS, Tree, number_images, read_split

BOXES, ABSENCE, COVER, META = "groundtruth.txt", "absence.label", "cover.label", "meta_info.ini"
LIST = "list.txt"  # names the sequences of a split
FULL_COVER = 8
TOP = re.compile(r"[^/]*")  # where the annotation of a sequence lies, below the data set


def find(tree: Tree) -> Iterator[Clip]:
    """Find folders with groundtruth.txt beside their images; below a split also those that lack the file."""
    for folder, files in sorted(tree.folders.items()):
        images = number_images(files) if BOXES in files or _is_below_split(folder) else {}
        if (BOXES in files and _is_ours(tree, folder)) or (BOXES not in files and images):
            split, name = read_split(folder)
            notes = {n: e[0] for n, e in files.items() if n in (BOXES, ABSENCE, COVER, META)}
            home = next(iter(files.values()))[0].path.rpartition("/")[0]
            yield Clip(name or split or tree.name, split, home, images, notes, folder=name)


def read(tree: Tree, clip: Clip) -> Iterator[Target]:
    """Read the one target of a sequence."""
    text = {name: tree.read_text(clip.notes.get(name)) for name in (BOXES, ABSENCE, COVER, META)}
    boxes = parse_boxes(text[BOXES])
    absent = fit(parse_labels(text[ABSENCE]), len(boxes)) >= 1
    cover = fit(parse_labels(text[COVER]), len(boxes)) / FULL_COVER
    file = clip.notes[BOXES].path if BOXES in clip.notes else f"{clip.home}/{BOXES}"
    label, stated = parse_meta(text[META])
    yield Target(clip.name, label, file, boxes, ~absent, cover, stated=stated)


def find_lost(tree: Tree, clips: Iterable[Clip]) -> list[str]:
    """Name the sequences (SPLIT/NAME) that a split's list.txt promises and that are not there."""
    there = {(clip.split, clip.home.rpartition("/")[2]) for clip in clips}
    promised = [
        (split, name.strip())
        for split in SPLITS
        for name in split_lines(tree.read_text(tree.get(f"{split}/{LIST}")))
    ]
    return [f"{split}/{name}" for split, name in promised if name and (split, name) not in there]


def parse_meta(text: str) -> tuple[str, dict[str, int]]:
    """Find object_class and resolution in meta_info.ini; nothing where they are not there."""
    parser = ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(text)
    except IniError:
        return "", {}
    said = {key: value for section in parser for key, value in parser[section].items()}
    size = parse_line(said.get("resolution", "").strip("() "))
    whole = len(size) == 2 and all(0 < side < 2**31 for side in size)
    stated = {"width": int(size[0]), "height": int(size[1])} if whole else {}
    return said.get("object_class", ""), stated


def _is_below_split(folder: str) -> bool:
    split, _ = read_split(folder)
    return bool(split)


def _is_ours(tree: Tree, folder: str) -> bool:
    """Whether groundtruth.txt is not LaSOT's (frames in img/) nor VOT's (polygons, or frames in color/)."""
    if any(f"{folder}/{kind}".lstrip("/") in tree.folders for kind in ("img", "color")):
        return False
    first = split_lines(tree.read_text(tree.files(folder)[BOXES][0])[:400])[:1]
    return not first or not (first[0].startswith("m") or len(parse_line(first[0])) >= 6)
