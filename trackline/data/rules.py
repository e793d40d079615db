"""The promises that annotated footage must keep, each computed on the whole table at once."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from trackline.config import Validate
from trackline.data.images import MISSING, Checks
from trackline.data.table import BOX
from trackline.data.tree import SPLITS
from trackline.errors import (
    BoxError,
    ClassError,
    CorruptImageError,
    DataError,
    MissingFrameError,
    ValidationError,
)

Unit: TypeAlias = Literal["frame", "sequence", "split"]
Severity: TypeAlias = Literal["error", "warning", "ignore"]
Mask: TypeAlias = np.ndarray[Any, Any]  # of bool, a row each
Values: TypeAlias = "pd.Series[str]"  # of the violations: row number of the unit, and what was seen

NEAR_BITS = 2  # of 64 by which two looks may differ and still be one picture
NEAR_SHARE = 0.2  # of a sequence's frames that must look like another's to call it a copy


@dataclass(frozen=True)
class Facts:
    """All that the rules look at; `table` is sorted, its rows numbered from 0, and `checks` in its order."""

    table: pd.DataFrame
    checks: Checks
    limits: Validate
    classes: tuple[str, ...]  # empty: any class will do

    @cached_property
    def units(self) -> dict[Unit, pd.DataFrame]:
        """What can break a rule, one row each, with sequence, frame and source to find it by."""
        splits = pd.DataFrame({"sequence": "", "frame": -1, "source": list(SPLITS), "line": 0})
        heads = self.table[self.starts].reset_index(drop=True)
        return {"frame": self.table, "sequence": heads, "split": splits}

    @cached_property
    def starts(self) -> Mask:
        """Rows that begin a sequence."""
        names = self.table["sequence"]
        return names.ne(names.shift()).to_numpy(dtype=bool)

    @cached_property
    def codes(self) -> Mask:
        """The number of each row's sequence."""
        codes: Mask = np.cumsum(self.starts) - 1
        return codes

    @cached_property
    def first(self) -> Mask:
        """The number of the first row of each row's sequence."""
        return np.flatnonzero(self.starts)[self.codes]

    @cached_property
    def ranks(self) -> Mask:
        """The number of each row's split: train, val, then test."""
        codes, names = pd.factorize(self.table["split"])
        order = {name: rank for rank, name in enumerate(SPLITS)}
        return np.array([order.get(name, len(SPLITS)) for name in names], dtype=np.int64)[codes]

    @cached_property
    def absent(self) -> Mask:
        """Frames without an image."""
        absent: Mask = (self.get("bytes") < 0) | (self.checks.problems == MISSING)
        return absent

    @cached_property
    def annotated(self) -> Mask:
        """Frames with a line in the annotation file."""
        annotated: Mask = self.get("line") > 0
        return annotated

    @cached_property
    def finite(self) -> Mask:
        """Frames with a visible target and four finite numbers for it."""
        sound = self.get("visible").copy()
        for name in BOX:
            sound &= np.isfinite(self.get(name))
        return sound

    @cached_property
    def positive(self) -> Mask:
        """Frames with a visible target and a box of some area."""
        return self.finite & (self.get("w") > 0) & (self.get("h") > 0)

    @cached_property
    def followed(self) -> Mask:
        """Frames with such a box whose frame before has one too."""
        follows = ~self.starts & (np.diff(self.get("frame"), prepend=-9) == 1)
        sound: Mask = self.positive & ~(self.outside & ~self.get("amodal")) & ~self.beside
        followed: Mask = sound & follows & np.roll(sound, 1)
        return followed

    @cached_property
    def outside(self) -> Mask:
        """Frames whose box reaches further beyond the image than the tolerance."""
        slack = self.limits.outside_tolerance_px
        x, y, w, h = (self.get(name) for name in BOX)
        width, height = self.get("width"), self.get("height")
        with np.errstate(invalid="ignore"):
            beyond = (width > 0) & ((x + w > width + slack) | (y + h > height + slack))
            out: Mask = self.positive & (beyond | (x < -slack) | (y < -slack))
        return out

    @cached_property
    def beside(self) -> Mask:
        """Frames whose box has nothing in common with the image."""
        x, y, w, h = (self.get(name) for name in BOX)
        width, height = self.get("width"), self.get("height")
        with np.errstate(invalid="ignore"):
            away = (width > 0) & ((x >= width) | (y >= height))
            beside: Mask = self.positive & (away | (x + w <= 0) | (y + h <= 0))
        return beside

    def get(self, name: str) -> Mask:
        """One column as an array."""
        return self.table[name].to_numpy()


@dataclass(frozen=True)
class Rule:
    """One promise, what it costs to break it, and how to mend it; braces hold names of `Validate`."""

    name: str
    unit: Unit
    severity: Severity
    error: type[DataError]
    reason: str
    remedy: str
    find: Callable[[Facts], Values]
    aside: Unit | None = None  # what quarantine sets aside, when it is more than the unit


def find_twice(facts: Facts) -> Values:
    """Frames that occur more than once."""
    again = ~facts.starts & (np.diff(facts.get("frame"), prepend=-9) == 0)
    return _tell(facts, again | np.roll(again, -1), "image")


def find_gaps(facts: Facts) -> Values:
    """Frames before which some are neither annotated nor there as an image."""
    frame = facts.get("frame").astype(np.int64)
    before = np.where(facts.starts, -1, np.roll(frame, 1))
    at = np.flatnonzero(frame > before + 1)
    return _say(at, (f"{before[i] + 1} to {frame[i] - 1}" for i in at))


def find_missing_images(facts: Facts) -> Values:
    """Annotated frames without an image."""
    return _tell(facts, facts.absent, "image")


def find_unannotated(facts: Facts) -> Values:
    """Images without a line in the annotation file."""
    return _tell(facts, ~facts.annotated, "image")


def find_corrupt(facts: Facts) -> Values:
    """Images that do not decode to their end."""
    at = np.flatnonzero((facts.checks.problems != "") & ~facts.absent & ~_is_huge(facts))
    return _say(at, facts.checks.problems[at])


def find_huge(facts: Facts) -> Values:
    """Images of more pixels than memory should be given for; they are not decoded."""
    at = np.flatnonzero(_is_huge(facts))
    return _say(at, (f"{facts.get('width')[i]}x{facts.get('height')[i]}" for i in at))


def find_other_sizes(facts: Facts) -> Values:
    """Frames whose image has another size than the first of their sequence."""
    w, h = facts.get("width"), facts.get("height")
    known = (w > 0) & (w[facts.first] > 0)
    at = np.flatnonzero(known & ((w != w[facts.first]) | (h != h[facts.first])))
    return _say(at, (f"{w[i]}x{h[i]}, first {w[facts.first[i]]}x{h[facts.first[i]]}" for i in at))


def find_misstated_sizes(facts: Facts) -> Values:
    """Sequences whose images have another size than their meta file says."""
    unit = facts.units["sequence"]
    w, h = unit["width"].to_numpy(), unit["height"].to_numpy()
    say_w, say_h = unit["stated_width"].to_numpy(), unit["stated_height"].to_numpy()
    at = np.flatnonzero((w > 0) & (say_w > 0) & ((w != say_w) | (h != say_h)))
    return _say(at, (f"{w[i]}x{h[i]}, stated {say_w[i]}x{say_h[i]}" for i in at))


def find_misstated_lengths(facts: Facts) -> Values:
    """Sequences whose footage has another number of images than their meta file says."""
    unit = facts.units["sequence"]
    there, stated = unit["footage_frames"].to_numpy(), unit["stated_frames"].to_numpy()
    at = np.flatnonzero((stated > 0) & (there > 0) & (there != stated))
    return _say(at, (f"{there[i]} images, stated {stated[i]}" for i in at))


def find_not_finite(facts: Facts) -> Values:
    """Boxes that are not four finite numbers."""
    at = np.flatnonzero(facts.annotated & facts.get("visible") & ~facts.finite)
    source, line = facts.table["source"].iloc[at], facts.get("line")[at]
    where = (f" ({s}:{k})" for s, k in zip(source, line, strict=True))
    return _say(
        at, (told + place for told, place in zip(_tell_boxes(facts, at), where, strict=True))
    )


def find_not_positive(facts: Facts) -> Values:
    """Boxes without area."""
    at = np.flatnonzero(facts.finite & ~facts.positive)
    return _say(at, _tell_boxes(facts, at))


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
    return _say(at, (told + size for told, size in zip(_tell_boxes(facts, at), sizes, strict=True)))


def find_boxes_of_absent(facts: Facts) -> Values:
    """Frames marked as absent that have a box, and no label that says the target is covered."""
    w, h, cover = facts.get("w"), facts.get("h"), facts.get("cover")
    at = np.flatnonzero(
        ~facts.get("visible") & facts.annotated & (w > 0) & (h > 0) & np.isnan(cover)
    )
    return _say(at, _tell_boxes(facts, at))


def find_teleports(facts: Facts) -> Values:
    """Frames whose box lies further from the one before than the larger of them could have moved."""
    x, y, w, h = (facts.get(name) for name in BOX)
    with np.errstate(invalid="ignore", over="ignore"):
        centre, middle, side = x + w / 2, y + h / 2, np.sqrt(w * h)
        step = np.hypot(centre - np.roll(centre, 1), middle - np.roll(middle, 1))
        sizes = step / np.maximum(np.maximum(side, np.roll(side, 1)), 1)
        at = np.flatnonzero(facts.followed & (sizes > facts.limits.max_step))
    return _say(at, (f"{step[i]:.0f} px, {sizes[i]:.1f} times its size" for i in at))


def find_explosions(facts: Facts) -> Values:
    """Frames whose box is many times larger or smaller than the one before."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        area = facts.get("w") * facts.get("h")
        ratio = area / np.roll(area, 1)
        limit = facts.limits.max_growth
        at = np.flatnonzero(facts.followed & ((ratio > limit) | (ratio < 1 / limit)))
    return _say(at, (f"{ratio[i]:.3g} times the area of the frame before" for i in at))


def find_frozen(facts: Facts) -> Values:
    """Frames of a stretch in which the box does not change at all."""
    same = facts.followed.copy()
    for name in BOX:
        same &= facts.get(name) == np.roll(facts.get(name), 1)
    runs = np.cumsum(~same) - 1
    length = np.bincount(runs) if len(runs) else np.zeros(0, dtype=int)
    at = np.flatnonzero(facts.positive & (length[runs] >= facts.limits.max_frozen_frames))
    return _say(at, (f"the same for {length[runs[i]]} frames" for i in at))


def find_unknown_classes(facts: Facts) -> Values:
    """Sequences of a class that the configuration does not list."""
    label = facts.units["sequence"]["class"]
    bad = label[~label.isin(facts.classes)] if facts.classes else label[label == ""]
    return bad.map(lambda name: _suggest(name, facts.classes)).astype("str")


def find_changed_classes(facts: Facts) -> Values:
    """Frames of another class than the first of their sequence."""
    codes, names = pd.factorize(facts.table["class"])
    at = np.flatnonzero(codes != codes[facts.first])
    return _say(at, (f"{names[codes[i]]}, first {names[codes[facts.first[i]]]}" for i in at))


def find_hidden_starts(facts: Facts) -> Values:
    """Sequences whose target is absent from the first frame, from which trackers learn its looks."""
    at = np.flatnonzero(~facts.units["sequence"]["visible"].to_numpy(dtype=bool))
    return _say(at, ("absent" for _ in at))


def find_short(facts: Facts) -> Values:
    """Sequences with too few visible frames."""
    visible = np.bincount(facts.codes, facts.get("visible")).astype(int)
    at = np.flatnonzero(visible < facts.limits.min_visible_frames)
    return _say(at, (f"{visible[i]} visible frames" for i in at))


def find_small_splits(facts: Facts) -> Values:
    """Splits with too few sequences."""
    found = facts.units["sequence"]["split"].value_counts()
    counts = [int(found.get(split, 0)) for split in SPLITS]
    at = [i for i, count in enumerate(counts) if count < facts.limits.min_sequences_per_split]
    return _say(np.array(at, dtype=int), (f"{counts[i]} sequences" for i in at))


def find_untrained_classes(facts: Facts) -> Values:
    """Splits with classes that the training split lacks."""
    unit = facts.units["sequence"]
    classes = {split: set(unit.loc[unit["split"] == split, "class"]) for split in SPLITS}
    only = {k: sorted(classes[s] - classes["train"]) for k, s in enumerate(SPLITS)}
    at = [k for k, names in only.items() if names and classes["train"]]
    return _say(np.array(at, dtype=int), (", ".join(only[k][:5]) for k in at))


def find_imbalance(facts: Facts) -> Values:
    """The training split, when its most common class is many times as common as its rarest."""
    unit = facts.units["sequence"]
    counts = unit.loc[unit["split"] == "train", "class"].value_counts()
    if not len(counts) or counts.iloc[0] <= facts.limits.max_imbalance * counts.iloc[-1]:
        return _say(np.zeros(0, dtype=int), ())
    told = f"{counts.index[0]} {counts.iloc[0]}, {counts.index[-1]} {counts.iloc[-1]}"
    return _say(np.array([SPLITS.index("train")]), (told,))


def find_leaks(facts: Facts) -> Values:
    """Frames whose very image is in an earlier split too (train, then val, then test)."""
    rows = _list_prints(facts)
    at = rows["row"].to_numpy()
    first = rows.groupby("print")["row"].transform("first").to_numpy()
    other = dict(zip(at.tolist(), first.tolist(), strict=True))
    bad = np.sort(at[facts.ranks[at] > facts.ranks[first]]).tolist()
    images = facts.table["image"]
    told = (f"same as {images.iloc[other[row]]}" for row in bad)
    return _say(np.array(bad, dtype=int), told)


def find_repeats(facts: Facts) -> Values:
    """Frames whose image is that of the frame before, byte for byte or to the eye while the box moves."""
    prints, looks = facts.checks.fingerprints, facts.checks.looks
    follows = ~facts.starts & (np.diff(facts.get("frame"), prepend=-9) == 1)
    same = follows & (prints != 0) & (prints == np.roll(prints, 1))
    x, y, w, h = (facts.get(name) for name in BOX)
    with np.errstate(invalid="ignore", over="ignore"):
        step = np.hypot(x - np.roll(x, 1), y - np.roll(y, 1)) / np.sqrt(np.maximum(w * h, 1))
        still = (looks != 0) & (looks == np.roll(looks, 1)) & facts.followed & (step > 1)
    at = np.flatnonzero(same | still)
    return _say(
        at, ("the same image" if same[i] else "hardly another image, but the box moved" for i in at)
    )


def find_copies(facts: Facts) -> Values:
    """Frames whose very image is in another sequence of the same split, as another file."""
    rows = _list_prints(facts)
    at = rows["row"].to_numpy()
    first = rows.groupby(["print", "rank"])["row"].transform("first").to_numpy()
    images = facts.table["image"]
    other = dict(zip(at.tolist(), first.tolist(), strict=True))
    differ = np.sort(at[facts.codes[at] != facts.codes[first]]).tolist()
    bad = [row for row in differ if images.iloc[row] != images.iloc[other[row]]]
    told = (f"same as {images.iloc[other[row]]}" for row in bad)
    return _say(np.array(bad, dtype=int), told)


def find_near_leaks(facts: Facts) -> Values:
    """Sequences that look like one of an earlier split though their files differ: encoded anew, resized."""
    looks = facts.checks.looks
    at = np.flatnonzero(looks != 0)
    rows = pd.DataFrame({"look": looks[at], "rank": facts.ranks[at], "code": facts.codes[at]})
    rows = rows.drop_duplicates(["look", "code"]).sort_values("rank", kind="stable")
    first = rows.groupby("look")[["rank", "code"]].transform("first").astype("int64")
    later = rows.assign(other=first["code"])[rows["rank"] > first["rank"]]
    shared = later.groupby(["code", "other"]).size()
    own = rows.groupby("code").size()
    exact = set(facts.codes[find_leaks(facts).index])
    names = facts.units["sequence"]["sequence"]
    hits = {}
    for code, other, count in shared.reset_index(name="count").to_numpy().tolist():
        if count >= max(2, NEAR_SHARE * own[code]) and code not in exact:
            hits[code] = f"{count} frames look like {names.iloc[other]}"
    return _say(np.array(sorted(hits), dtype=int), (hits[code] for code in sorted(hits)))


def find_contradictions(facts: Facts) -> Values:
    """Frames whose absence and cover labels cannot both be right."""
    cover, visible = facts.get("cover"), facts.get("visible").astype(bool)
    labelled = np.bincount(facts.codes, ~np.isnan(cover)) > 0
    wrong = (visible & (cover == 0)) | (~visible & (cover > 0)) | (cover < 0) | (cover > 1)
    at = np.flatnonzero(wrong | (labelled[facts.codes] & np.isnan(cover) & facts.annotated))
    return _say(at, (f"{'visible' if visible[i] else 'absent'}, cover {cover[i]:g}" for i in at))


def _is_huge(facts: Facts) -> Mask:
    pixels = facts.get("width").astype(np.int64) * facts.get("height").astype(np.int64)
    return pixels > facts.limits.max_image_mpx * 1e6


def _list_prints(facts: Facts) -> pd.DataFrame:
    """Rows with a fingerprint that occurs again, those of earlier splits first."""
    prints = facts.checks.fingerprints
    at = np.flatnonzero(prints != 0)
    again = pd.Series(prints[at]).duplicated(keep=False).to_numpy()
    at = at[again]
    rows = pd.DataFrame({"print": prints[at], "rank": facts.ranks[at], "row": at})
    return rows.sort_values("rank", kind="stable", ignore_index=True)


def _say(at: Mask, told: Iterable[str]) -> Values:
    return pd.Series(list(told), index=pd.Index(at, dtype="int64"), dtype="str")


def _tell(facts: Facts, bad: Mask, column: str) -> Values:
    at = np.flatnonzero(bad)
    return _say(at, facts.table[column].iloc[at])


def _tell_boxes(facts: Facts, at: Mask) -> list[str]:
    boxes = facts.table[BOX].iloc[at].to_numpy()
    return [",".join(f"{number:g}" for number in box) for box in boxes]


def _suggest(name: str, classes: tuple[str, ...]) -> str:
    close: list[Any] = difflib.get_close_matches(name, classes, n=1)
    return f"{name or 'no class'}{f', did you mean {close[0]}?' if close else ''}"


RULES = (
    Rule(
        "each frame occurs once",
        "frame",
        "error",
        ValidationError,
        "two images claim the same number in one sequence",
        "delete the copy, for example a sequence that is both loose and in a shard",
        find_twice,
    ),
    Rule(
        "each annotated frame has an image",
        "frame",
        "error",
        MissingFrameError,
        "a box without its image cannot be learned",
        "restore the image, or delete the line from the annotation and the label files",
        find_missing_images,
    ),
    Rule(
        "each image has an annotation",
        "frame",
        "error",
        MissingFrameError,
        "the annotation has no line for the image",
        "annotate the image or delete it",
        find_unannotated,
    ),
    Rule(
        "frames are contiguous",
        "frame",
        "error",
        ValidationError,
        "numbers are skipped, so motion between frames is not what it seems",
        "restore the skipped frames or split the sequence there",
        find_gaps,
        "sequence",
    ),
    Rule(
        "each image decodes",
        "frame",
        "error",
        CorruptImageError,
        "the image is damaged, cut short or of another format",
        "replace the image file or drop its sequence",
        find_corrupt,
    ),
    Rule(
        "boxes are finite",
        "frame",
        "error",
        BoxError,
        "a visible target needs four finite numbers x,y,w,h",
        "correct the line, or mark the frame as absent",
        find_not_finite,
    ),
    Rule(
        "boxes are positive",
        "frame",
        "error",
        BoxError,
        "the box x,y,w,h of a visible target needs a width and a height above 0",
        "correct the line, or mark the frame as absent",
        find_not_positive,
    ),
    Rule(
        "boxes are inside their image",
        "frame",
        "error",
        BoxError,
        "the box x,y,w,h reaches more than {outside_tolerance_px:g} px beyond its image",
        "clip the box to the image or raise validate.outside_tolerance_px",
        find_outside,
    ),
    Rule(
        "boxes end at the border of their image",
        "frame",
        "warning",
        BoxError,
        "the box goes on beyond the image, as the layout allows, but gates measure overlap with all of it",
        "clip the box to the image if the target's hidden part should not count",
        find_beyond,
    ),
    Rule(
        "classes are known",
        "sequence",
        "error",
        ClassError,
        "the class is not stated, or data.classes in params.yaml does not list it",
        "add the class to data.classes, or say in data.class_map which of them it is",
        find_unknown_classes,
    ),
    Rule(
        "one class in a sequence",
        "frame",
        "error",
        ClassError,
        "the class changes within the sequence",
        "give all frames of the sequence one class",
        find_changed_classes,
        "sequence",
    ),
    Rule(
        "the target is visible at first",
        "sequence",
        "error",
        ValidationError,
        "a tracker learns the target's looks from the first frame",
        "cut the frames before the target appears",
        find_hidden_starts,
    ),
    Rule(
        "enough visible frames",
        "sequence",
        "error",
        ValidationError,
        "a sequence needs {min_visible_frames} visible frames or more",
        "drop the sequence or lower validate.min_visible_frames",
        find_short,
    ),
    Rule(
        "each split has enough sequences",
        "split",
        "error",
        ValidationError,
        "train, val and test each need {min_sequences_per_split} sequences or more",
        "add sequences to the split or lower validate.min_sequences_per_split",
        find_small_splits,
    ),
    Rule(
        "no image is in two splits",
        "frame",
        "error",
        ValidationError,
        "an image that was trained on proves nothing in a test",
        "keep the sequence in one split only",
        find_leaks,
    ),
    Rule(
        "absence and cover agree",
        "frame",
        "warning",
        ValidationError,
        "a target is absent exactly when its cover is 0; covers count eighths, 0 to 8",
        "correct absence.label or cover.label",
        find_contradictions,
    ),
    Rule(
        "images are not gigantic",
        "frame",
        "error",
        CorruptImageError,
        "the image has more than {max_image_mpx:g} million pixels, by mistake or to fill the memory",
        "scale it down, or raise validate.max_image_mpx",
        find_huge,
    ),
    Rule(
        "images have the stated size",
        "sequence",
        "error",
        ValidationError,
        "the meta file states another size, so boxes may be of images scaled since",
        "correct the meta file, or bring the images in the size that was annotated",
        find_misstated_sizes,
    ),
    Rule(
        "one size in a sequence",
        "frame",
        "warning",
        ValidationError,
        "the image has another size than the first of its sequence",
        "check that its box was annotated in this size",
        find_other_sizes,
    ),
    Rule(
        "footage has the stated length",
        "sequence",
        "warning",
        ValidationError,
        "the meta file states another number of images",
        "fetch the whole sequence or correct the meta file",
        find_misstated_lengths,
    ),
    Rule(
        "absent targets have no box",
        "frame",
        "warning",
        ValidationError,
        "the frame is marked as absent and yet has a box",
        "clear the mark where the target is in view; the box is not used",
        find_boxes_of_absent,
    ),
    Rule(
        "targets move plausibly",
        "frame",
        "warning",
        BoxError,
        "the box moves more than {max_step:g} times its size in one frame",
        "correct the box, split the sequence at a cut, or raise validate.max_step",
        find_teleports,
    ),
    Rule(
        "boxes change size plausibly",
        "frame",
        "warning",
        BoxError,
        "the area of the box changes more than {max_growth:g} times in one frame",
        "correct the box, or raise validate.max_growth",
        find_explosions,
    ),
    Rule(
        "boxes are alive",
        "frame",
        "warning",
        BoxError,
        "the box stays the same to the last digit for {max_frozen_frames} frames or more, as placeholders do",
        "annotate the stretch, or raise validate.max_frozen_frames where the target does stand still",
        find_frozen,
    ),
    Rule(
        "consecutive images differ",
        "frame",
        "warning",
        ValidationError,
        "the image repeats the one before",
        "drop the repeated frames with their annotation",
        find_repeats,
    ),
    Rule(
        "no image is in two sequences",
        "frame",
        "warning",
        ValidationError,
        "another sequence of the split holds the same image",
        "drop one of the copies, so that it does not count twice",
        find_copies,
    ),
    Rule(
        "no sequence resembles one of another split",
        "sequence",
        "warning",
        ValidationError,
        "the same footage, encoded or scaled anew, seems to be in an earlier split",
        "look at both, and keep one of them",
        find_near_leaks,
    ),
    Rule(
        "each class is trained",
        "split",
        "warning",
        ClassError,
        "the training split has no sequence of these classes",
        "move some of their sequences to train",
        find_untrained_classes,
    ),
    Rule(
        "classes are balanced",
        "split",
        "warning",
        ClassError,
        "the most common class has more than {max_imbalance:g} times the sequences of the rarest",
        "add sequences of the rare class, or raise validate.max_imbalance",
        find_imbalance,
    ),
)
