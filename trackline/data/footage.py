"""All annotated footage below the data folder: data sets found, their layouts told apart, everything read."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd

from trackline.config import Data, Shares
from trackline.data import videos
from trackline.data.images import SUFFIXES
from trackline.data.layouts import (
    davis,
    got10k,
    lasot,
    mot,
    nfs,
    otb,
    simple,
    tld,
    trackingnet,
    uav123,
    vot,
)
from trackline.data.layouts.sequences import Clip, Columns, repeat, tabulate
from trackline.data.table import COLUMNS
from trackline.data.tree import SPLIT_NAMES, Tree, grow
from trackline.errors import DataError, EmptyDataError

LAYOUTS: dict[str, ModuleType] = {
    "got10k": got10k,
    "lasot": lasot,
    "trackingnet": trackingnet,
    "otb": otb,
    "dtb70": otb,
    "uav123": uav123,
    "nfs": nfs,
    "vot": vot,
    "davis": davis,
    "mot": mot,
    "tld": tld,
    "simple": simple,
}
ARCHIVES = (".zip", ".gz", ".tgz", ".xz", ".bz2", ".zst", ".7z", ".rar")
FOREIGN = (".bmp", ".webp", ".tif", ".tiff", ".gif", ".heic", ".ppm")
ORDER = [name for name in LAYOUTS if name != "dtb70"]  # one reader has two names


@dataclass(frozen=True)
class Found:
    """One clip, with the data set it belongs to and the split it is in."""

    dataset: str
    layout: str
    tree: Tree
    clip: Clip


def find(root: Path, settings: Data | None = None) -> list[Found]:
    """List every clip below `root` by split and name.

    Raises EmptyDataError when there is none, DataError for unsafe or damaged files, for a layout that
    cannot be told, and where the named one has no sequence.
    """
    settings = settings or Data()
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise EmptyDataError(f"{root} {what}; name the folder that your footage lies in")
    everything = grow(root)
    found = [
        Found(tree.name, layout, tree, clip)
        for tree in part(everything, settings.layout)
        for layout, clips in [detect(tree, settings.layout)]
        for clip in clips
    ]
    if not found:
        raise EmptyDataError(
            f"{root} holds no sequence of {_name_layouts(settings.layout)}: {_survey(everything)}; "
            "docs/own-data.md shows the simplest layout"
        )
    split = [replace(f, clip=replace(f.clip, split=draw(f, settings.split))) for f in found]
    return sorted(_rename_twins(split), key=lambda f: (f.clip.split, f.clip.name))


def part(tree: Tree, layout: str = "auto") -> list[Tree]:
    """Tell the data sets of a folder apart: itself when one layout explains it, else those of each folder.

    Folders named train, val and test belong together whatever lies beside them.
    """
    splits = [top for top in tree.tops if top.lower() in SPLIT_NAMES]
    others = [top for top in tree.tops if top not in splits]
    claims = _claim(tree, layout)
    if len(claims) == 1 and not (splits and others) and _is_top(*next(iter(claims.items()))):
        return [tree]
    own = tree.without(others)
    parts = [part(tree.below(top), layout) for top in others]
    return [own] * bool(_claim(own, layout)) + [tree for trees in parts for tree in trees]


def detect(tree: Tree, layout: str = "auto") -> tuple[str, list[Clip]]:
    """Tell the layout of one data set and list its clips; ("", []) when nothing fits.

    Raises DataError when several layouts claim it.
    """
    claims = _claim(tree, layout)
    if len(claims) > 1:
        told = ", ".join(f"{name} ({clips[0].name})" for name, clips in claims.items())
        raise DataError(
            f"{tree.name} mixes layouts: {told}; give each a folder of its own, or set data.layout"
        )
    return next(iter(claims.items()), ("", []))


def read(found: Found, class_map: Mapping[str, str] | None = None) -> Iterator[Columns]:
    """Read a clip as columns of the annotation table, a row for each frame of each target of it."""
    tree, clip = found.tree, found.clip
    if video := clip.notes.get("video"):
        clip = replace(clip, images=videos.index(tree.root, video))
    for target in LAYOUTS[found.layout].read(tree, clip):
        label = name_class(class_map or {}, found.dataset, target.name, target.label)
        columns = tabulate(tree, clip, target, found.dataset, label)
        amodal = getattr(LAYOUTS[found.layout], "AMODAL", False)
        yield columns | {"amodal": repeat(amodal, len(columns["frame"]))}


def read_all(root: Path, settings: Data | None = None) -> pd.DataFrame:
    """Read everything below `root` as one annotation table, by split, sequence and frame."""
    settings = settings or Data()
    found = find(root, settings)
    return join(rows for clip in found for rows in read(clip, settings.class_map))


def join(parts: Iterable[Columns]) -> pd.DataFrame:
    """Put the rows of all targets together, by split, sequence and frame."""
    rows = list(parts)
    nothing = [np.empty(0)]
    whole = {name: np.concatenate([part[name] for part in rows] or nothing) for name in COLUMNS}
    table = pd.DataFrame(whole).astype(COLUMNS)
    return table.sort_values(["split", "sequence", "frame"], kind="stable", ignore_index=True)


def name_class(class_map: Mapping[str, str], dataset: str, sequence: str, label: str) -> str:
    """Translate a layout's class by the first pattern that fits data set/sequence, sequence or class."""
    for pattern, name in class_map.items():
        if any(fnmatchcase(s, pattern) for s in (f"{dataset}/{sequence}", sequence, label) if s):
            return name
    return label


def draw(found: Found, shares: Shares) -> str:
    """Give a clip's split: the layout's, or one drawn by the name of its footage, alike on every machine."""
    if found.clip.split:
        return found.clip.split
    home = found.clip.home.removeprefix(f"{found.dataset}/")
    drawn = int.from_bytes(hashlib.sha256(f"{found.dataset}/{home}".encode()).digest()[:6], "big")
    place = drawn / 2**48 * (shares.train + shares.val + shares.test)
    if place < shares.train:
        return "train"
    return "val" if place < shares.train + shares.val else "test"


def find_left_over(tree: Tree, clips: Iterable[Clip]) -> dict[str, int]:
    """Count images and videos that no clip has, by folder."""
    taken = {e.path for clip in clips for entries in clip.images.values() for e in entries}
    taken |= {e.path for clip in clips for e in clip.notes.values()}
    left: dict[str, int] = defaultdict(int)
    for folder, files in tree.folders.items():
        for name, entries in files.items():
            if name.lower().endswith(SUFFIXES) or videos.is_video(name):
                left[folder] += sum(entry.path not in taken for entry in entries)
    return {folder: count for folder, count in left.items() if count}


def find_lost(found: Iterable[Found]) -> list[str]:
    """Name the sequences that GOT-10k's list.txt promises and that are not there."""
    sets: dict[str, list[Found]] = defaultdict(list)
    for one in found:
        if one.layout == "got10k":
            sets[one.dataset].append(one)
    return [
        name
        for ones in sets.values()
        for name in got10k.find_lost(ones[0].tree, (one.clip for one in ones))
    ]


def _name_layouts(layout: str) -> str:
    return f"a known layout ({', '.join(LAYOUTS)})" if layout == "auto" else f"the layout {layout}"


def _survey(tree: Tree) -> str:
    """Say in a few words what lies there instead of annotated footage."""
    files = [(folder, name) for folder, held in sorted(tree.folders.items()) for name in held]
    kinds = {
        "images": [(f, n) for f, n in files if n.lower().endswith(SUFFIXES)],
        "videos": [(f, n) for f, n in files if videos.is_video(n)],
        "archives": [(f, n) for f, n in files if n.lower().endswith(ARCHIVES)],
        "images of other formats": [(f, n) for f, n in files if n.lower().endswith(FOREIGN)],
    }
    told = [
        f"{len(held)} {kind} ({'/'.join(held[0]).lstrip('/')}{' ...' if len(held) > 1 else ''})"
        for kind, held in kinds.items()
        if held
    ]
    if not told:
        return f"{len(files)} files, no image and no video" if files else "it is empty"
    hints = "; unpack archives, or pack them as plain .tar" * bool(kinds["archives"])
    hints += "; turn images into JPEG or PNG" * bool(kinds["images of other formats"])
    return f"{', '.join(told)}, and no annotation beside them{hints}"


def _is_top(layout: str, clips: list[Clip]) -> bool:
    """Whether the sequences lie where those of one data set lie, and not a folder deeper."""
    top = LAYOUTS[layout].TOP
    return any((clip.split and layout == "got10k") or top.fullmatch(clip.folder) for clip in clips)


def _claim(tree: Tree, layout: str) -> dict[str, list[Clip]]:
    """The layouts that find clips in a tree. Bare frames below a split are GOT-10k's only if no one's."""
    names = ORDER if layout == "auto" else [layout]
    claims = {name: clips for name in names if (clips := list(LAYOUTS[name].find(tree)))}
    bare = not any(clip.notes for clip in claims.get("got10k", []))
    if len(claims) > 1 and "got10k" in claims and bare:
        del claims["got10k"]
    return claims


def _rename_twins(found: list[Found]) -> Iterator[Found]:
    """Put data set or split before names that occur in more than one."""
    places: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for one in found:
        places[one.clip.name].add((one.dataset, one.clip.split))
    for one in found:
        twins = places[one.clip.name]
        prefix = one.dataset if len({d for d, _ in twins}) > 1 else ""
        if len([s for d, s in twins if not prefix or d == one.dataset]) > 1:
            prefix = f"{prefix}-{one.clip.split}".strip("-")
        name = f"{prefix}-{one.clip.name}".replace("/", "-") if prefix else one.clip.name
        yield replace(one, clip=replace(one.clip, name=name))
