"""Ways in which annotated footage goes wrong, each found on the whole table at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from trackline.data.facts import Facts, Mask, Values
from trackline.data.table import BOX
from trackline.data.tree import SPLITS


def find_twice(facts: Facts) -> Values:
    """Frames that occur more than once."""
    again = ~facts.starts & (np.diff(facts.get("frame"), prepend=-9) == 0)
    return _tell(facts, again | np.roll(again, -1), "image")


def find_gaps(facts: Facts) -> Values:
    """Frames before which some are neither annotated nor there as an image."""
    frame = facts.get("frame").astype(np.int64)
    before = np.where(facts.starts, -1, np.roll(frame, 1))
    at = np.flatnonzero(frame > before + 1)
    return say(at, (f"{before[i] + 1} to {frame[i] - 1}" for i in at))


def find_missing_images(facts: Facts) -> Values:
    """Annotated frames without an image."""
    return _tell(facts, facts.absent, "image")


def find_unannotated(facts: Facts) -> Values:
    """Images without a line in the annotation file."""
    return _tell(facts, ~facts.annotated, "image")


def find_corrupt(facts: Facts) -> Values:
    """Images that do not decode to their end."""
    at = np.flatnonzero((facts.checks.problems != "") & ~facts.absent & ~_is_huge(facts))
    return say(at, facts.checks.problems[at])


def find_huge(facts: Facts) -> Values:
    """Images of more pixels than memory should be given for; they are not decoded."""
    at = np.flatnonzero(_is_huge(facts))
    return say(at, (f"{facts.get('width')[i]}x{facts.get('height')[i]}" for i in at))


def find_other_sizes(facts: Facts) -> Values:
    """Frames whose image has another size than the first of their sequence."""
    w, h = facts.get("width"), facts.get("height")
    known = (w > 0) & (w[facts.first] > 0)
    at = np.flatnonzero(known & ((w != w[facts.first]) | (h != h[facts.first])))
    return say(at, (f"{w[i]}x{h[i]}, first {w[facts.first[i]]}x{h[facts.first[i]]}" for i in at))


def find_misstated_sizes(facts: Facts) -> Values:
    """Sequences whose images have another size than their meta file says."""
    unit = facts.units["sequence"]
    w, h = unit["width"].to_numpy(), unit["height"].to_numpy()
    say_w, say_h = unit["stated_width"].to_numpy(), unit["stated_height"].to_numpy()
    at = np.flatnonzero((w > 0) & (say_w > 0) & ((w != say_w) | (h != say_h)))
    return say(at, (f"{w[i]}x{h[i]}, stated {say_w[i]}x{say_h[i]}" for i in at))


def find_misstated_lengths(facts: Facts) -> Values:
    """Sequences whose footage has another number of images than their meta file says."""
    unit = facts.units["sequence"]
    there, stated = unit["footage_frames"].to_numpy(), unit["stated_frames"].to_numpy()
    at = np.flatnonzero((stated > 0) & (there > 0) & (there != stated))
    return say(at, (f"{there[i]} images, stated {stated[i]}" for i in at))


def find_not_finite(facts: Facts) -> Values:
    """Boxes that are not four finite numbers."""
    at = np.flatnonzero(facts.annotated & facts.get("visible") & ~facts.finite)
    source, line = facts.table["source"].iloc[at], facts.get("line")[at]
    where = (f" ({s}:{k})" for s, k in zip(source, line, strict=True))
    return say(
        at, (told + place for told, place in zip(_tell_boxes(facts, at), where, strict=True))
    )


def find_not_positive(facts: Facts) -> Values:
    """Boxes without area."""
    at = np.flatnonzero(facts.finite & ~facts.positive)
    return say(at, _tell_boxes(facts, at))


def find_outside(facts: Facts) -> Values:
    """Boxes that reach further beyond their image than the tolerance."""
    return _tell_outside(facts, facts.outside & (~facts.get("amodal") | facts.beside))


def find_beyond(facts: Facts) -> Values:
    """Boxes that reach beyond their image, in layouts where they may."""
    return _tell_outside(facts, facts.outside & facts.get("amodal") & ~facts.beside)


def _tell_outside(facts: Facts, bad: Mask) -> Values:
    width, height = facts.get("width"), facts.get("height")
    at = np.flatnonzero(bad)
    sizes = (f" in {width[i]}x{height[i]}" if width[i] else "" for i in at)
    return say(at, (told + size for told, size in zip(_tell_boxes(facts, at), sizes, strict=True)))


def find_boxes_of_absent(facts: Facts) -> Values:
    """Frames marked as absent that have a box, and no label that says the target is covered."""
    w, h, cover = facts.get("w"), facts.get("h"), facts.get("cover")
    at = np.flatnonzero(
        ~facts.get("visible") & facts.annotated & (w > 0) & (h > 0) & np.isnan(cover)
    )
    return say(at, _tell_boxes(facts, at))


def find_teleports(facts: Facts) -> Values:
    """Frames whose box lies further from the one before than the larger of them could have moved."""
    x, y, w, h = (facts.get(name) for name in BOX)
    with np.errstate(invalid="ignore", over="ignore"):
        centre, middle, side = x + w / 2, y + h / 2, np.sqrt(w * h)
        step = np.hypot(centre - np.roll(centre, 1), middle - np.roll(middle, 1))
        sizes = step / np.maximum(np.maximum(side, np.roll(side, 1)), 1)
        at = np.flatnonzero(facts.followed & (sizes > facts.limits.max_step))
    return say(at, (f"{step[i]:.0f} px, {sizes[i]:.1f} times its size" for i in at))


def find_explosions(facts: Facts) -> Values:
    """Frames whose box is many times larger or smaller than the one before."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        area = facts.get("w") * facts.get("h")
        ratio = area / np.roll(area, 1)
        limit = facts.limits.max_growth
        at = np.flatnonzero(facts.followed & ((ratio > limit) | (ratio < 1 / limit)))
    return say(at, (f"{ratio[i]:.3g} times the area of the frame before" for i in at))


def find_frozen(facts: Facts) -> Values:
    """Frames of a stretch in which the box does not change at all."""
    same = facts.followed.copy()
    for name in BOX:
        same &= facts.get(name) == np.roll(facts.get(name), 1)
    runs = np.cumsum(~same) - 1
    length = np.bincount(runs) if len(runs) else np.zeros(0, dtype=int)
    at = np.flatnonzero(facts.positive & (length[runs] >= facts.limits.max_frozen_frames))
    return say(at, (f"the same for {length[runs[i]]} frames" for i in at))


def find_unknown_classes(facts: Facts) -> Values:
    """Sequences of a class that the configuration does not list."""
    label = facts.units["sequence"]["class"]
    bad = label[~label.isin(facts.classes)] if facts.classes else label[label == ""]
    return bad.map(lambda name: _suggest(name, facts.classes)).astype("str")


def find_changed_classes(facts: Facts) -> Values:
    """Frames of another class than the first of their sequence."""
    codes, names = pd.factorize(facts.table["class"])
    at = np.flatnonzero(codes != codes[facts.first])
    return say(at, (f"{names[codes[i]]}, first {names[codes[facts.first[i]]]}" for i in at))


def find_hidden_starts(facts: Facts) -> Values:
    """Sequences whose target is absent from the first frame, from which trackers learn its looks."""
    at = np.flatnonzero(~facts.units["sequence"]["visible"].to_numpy(dtype=bool))
    return say(at, ("absent" for _ in at))


def find_short(facts: Facts) -> Values:
    """Sequences with too few visible frames."""
    visible = np.bincount(facts.codes, facts.get("visible")).astype(int)
    at = np.flatnonzero(visible < facts.limits.min_visible_frames)
    return say(at, (f"{visible[i]} visible frames" for i in at))


def find_small_splits(facts: Facts) -> Values:
    """Splits with too few sequences."""
    found = facts.units["sequence"]["split"].value_counts()
    counts = [int(found.get(split, 0)) for split in SPLITS]
    at = [i for i, count in enumerate(counts) if count < facts.limits.min_sequences_per_split]
    return say(np.array(at, dtype=int), (f"{counts[i]} sequences" for i in at))


def find_untrained_classes(facts: Facts) -> Values:
    """Splits with classes that the training split lacks."""
    unit = facts.units["sequence"]
    classes = {split: set(unit.loc[unit["split"] == split, "class"]) for split in SPLITS}
    only = {k: sorted(classes[s] - classes["train"]) for k, s in enumerate(SPLITS)}
    at = [k for k, names in only.items() if names and classes["train"]]
    return say(np.array(at, dtype=int), (", ".join(only[k][:5]) for k in at))


def find_imbalance(facts: Facts) -> Values:
    """The training split, when its most common class is many times as common as its rarest."""
    unit = facts.units["sequence"]
    known = unit["class"].isin(facts.classes) if facts.classes else unit["class"] != ""
    counts = unit.loc[known & (unit["split"] == "train"), "class"].value_counts()
    if not len(counts) or counts.iloc[0] <= facts.limits.max_imbalance * counts.iloc[-1]:
        return say(np.zeros(0, dtype=int), ())
    told = f"{counts.index[0]} {counts.iloc[0]}, {counts.index[-1]} {counts.iloc[-1]}"
    return say(np.array([SPLITS.index("train")]), (told,))


def find_contradictions(facts: Facts) -> Values:
    """Frames whose absence and cover labels cannot both be right."""
    cover, visible = facts.get("cover"), facts.get("visible").astype(bool)
    labelled = np.bincount(facts.codes, ~np.isnan(cover)) > 0
    wrong = (visible & (cover == 0)) | (~visible & (cover > 0)) | (cover < 0) | (cover > 1)
    at = np.flatnonzero(wrong | (labelled[facts.codes] & np.isnan(cover) & facts.annotated))
    return say(at, (f"{'visible' if visible[i] else 'absent'}, cover {cover[i]:g}" for i in at))


def _is_huge(facts: Facts) -> Mask:
    pixels = facts.get("width").astype(np.int64) * facts.get("height").astype(np.int64)
    return pixels > facts.limits.max_image_mpx * 1e6


def say(at: Mask, told: Iterable[str]) -> Values:
    """Violations: the rows, and what was seen there."""
    return pd.Series(list(told), index=pd.Index(at, dtype="int64"), dtype="str")


def _tell(facts: Facts, bad: Mask, column: str) -> Values:
    at = np.flatnonzero(bad)
    return say(at, facts.table[column].iloc[at])


def _tell_boxes(facts: Facts, at: Mask) -> list[str]:
    boxes = facts.table[BOX].iloc[at].to_numpy()
    return [",".join(f"{number:g}" for number in box) for box in boxes]


def _suggest(name: str, classes: tuple[str, ...]) -> str:
    close: list[Any] = difflib.get_close_matches(name, classes, n=1)
    return f"{name or 'no class'}{f', did you mean {close[0]}?' if close else ''}"
