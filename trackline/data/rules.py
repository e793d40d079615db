"""The promises that annotated footage must keep, each computed on the whole table at once."""

from __future__ import annotations

import difflib
from collections.abc import Callable
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
Mask: TypeAlias = "pd.Series[bool]"
Values: TypeAlias = "pd.Series[str]"  # of the violations: row number of the unit, and what was seen


@dataclass(frozen=True)
class Facts:
    """All that the rules look at; `table` (rows numbered from 0) and `checks` are in the same order."""

    table: pd.DataFrame
    checks: Checks
    limits: Validate
    classes: tuple[str, ...]  # empty: any class will do

    @cached_property
    def units(self) -> dict[Unit, pd.DataFrame]:
        """What can break a rule, one row each, with sequence, frame and source to find it by."""
        first = self.table.drop_duplicates("sequence", ignore_index=True)
        splits = pd.DataFrame({"sequence": "", "frame": -1, "source": list(SPLITS), "line": 0})
        return {"frame": self.table, "sequence": first, "split": splits}

    @cached_property
    def absent(self) -> Mask:
        """Frames without an image."""
        return (self.table["bytes"] < 0) | pd.Series(self.checks.problems == MISSING)

    @cached_property
    def annotated(self) -> Mask:
        """Frames with a line in the annotation file."""
        return self.table["line"] > 0

    @cached_property
    def finite(self) -> Mask:
        """Frames with a visible target and four finite numbers for it."""
        finite = np.isfinite(self.table[BOX].to_numpy()).all(axis=1)
        return self.table["visible"] & pd.Series(finite)

    @cached_property
    def positive(self) -> Mask:
        """Frames with a visible target and a box of some area."""
        return self.finite & (self.table["w"] > 0) & (self.table["h"] > 0)


@dataclass(frozen=True)
class Rule:
    """One promise, what it costs to break it, and how to mend it; braces hold names of `Validate`."""

    name: str
    unit: Unit
    severity: Literal["error", "warning"]
    error: type[DataError]
    reason: str
    remedy: str
    find: Callable[[Facts], Values]


def find_twice(facts: Facts) -> Values:
    """Frames that occur more than once."""
    return facts.table["image"][facts.table.duplicated(["sequence", "frame"], keep=False)]


def find_gaps(facts: Facts) -> Values:
    """Frames before which some are neither annotated nor there as an image."""
    frame = facts.table["frame"]
    previous = frame.groupby(facts.table["sequence"]).shift(fill_value=-1)
    bad = frame > previous + 1
    return (previous[bad] + 1).astype(str) + " to " + (frame[bad] - 1).astype(str)


def find_missing_images(facts: Facts) -> Values:
    """Annotated frames without an image."""
    return facts.table["image"][facts.absent]


def find_unannotated(facts: Facts) -> Values:
    """Images without a line in the annotation file."""
    return facts.table["image"][~facts.annotated]


def find_corrupt(facts: Facts) -> Values:
    """Images that do not decode to their end."""
    problems = pd.Series(facts.checks.problems, dtype="str")
    return problems[(problems != "") & ~facts.absent]


def find_not_finite(facts: Facts) -> Values:
    """Boxes that are not four finite numbers."""
    bad = facts.annotated & facts.table["visible"] & ~facts.finite
    where = facts.table["source"][bad] + ":" + facts.table["line"][bad].astype("str")
    return _tell_boxes(facts, bad) + " (" + where + ")"


def find_not_positive(facts: Facts) -> Values:
    """Boxes without area."""
    return _tell_boxes(facts, facts.finite & ~facts.positive)


def find_outside(facts: Facts) -> Values:
    """Boxes that reach further beyond their image than the tolerance."""
    t, slack = facts.table, facts.limits.outside_tolerance_px
    beyond = (t["x"] + t["w"] > t["width"] + slack) | (t["y"] + t["h"] > t["height"] + slack)
    bad = facts.positive & (t["width"] > 0) & ((t["x"] < -slack) | (t["y"] < -slack) | beyond)
    size = t["width"][bad].astype(str) + "x" + t["height"][bad].astype(str)
    return _tell_boxes(facts, bad) + " in " + size


def find_unknown_classes(facts: Facts) -> Values:
    """Sequences of a class that the configuration does not list."""
    label = facts.units["sequence"]["class"]
    bad = label[~label.isin(facts.classes)] if facts.classes else label[label == ""]
    return bad.map(lambda name: _suggest(name, facts.classes)).astype("str")


def find_changed_classes(facts: Facts) -> Values:
    """Frames of another class than the first of their sequence."""
    label = facts.table["class"]
    first = label.groupby(facts.table["sequence"]).transform("first")
    bad = label != first
    return label[bad] + ", first " + first[bad]


def find_hidden_starts(facts: Facts) -> Values:
    """Sequences whose target is absent from the first frame, from which trackers learn its looks."""
    visible = facts.units["sequence"]["visible"]
    return visible[~visible].map(lambda _: "absent").astype("str")


def find_short(facts: Facts) -> Values:
    """Sequences with too few visible frames."""
    names = facts.units["sequence"]["sequence"]
    visible = names.map(facts.table.groupby("sequence")["visible"].sum())
    return visible[visible < facts.limits.min_visible_frames].astype(str) + " visible frames"


def find_small_splits(facts: Facts) -> Values:
    """Splits with too few sequences."""
    found = facts.units["sequence"]["split"].value_counts().reindex(SPLITS, fill_value=0)
    count = found.reset_index(drop=True)
    return count[count < facts.limits.min_sequences_per_split].astype(str) + " sequences"


def find_leaks(facts: Facts) -> Values:
    """Frames whose very image is in an earlier split too (train, then val, then test)."""
    rows = pd.DataFrame(
        {
            "print": facts.checks.fingerprints,
            "rank": facts.table["split"].map({name: rank for rank, name in enumerate(SPLITS)}),
            "where": facts.table["image"],
        }
    )
    rows = rows[rows["print"] != 0].sort_values("rank", kind="stable")
    first = rows.groupby("print")[["rank", "where"]].transform("first")
    return "same as " + first["where"][rows["rank"] > first["rank"]].sort_index()


def find_contradictions(facts: Facts) -> Values:
    """Frames whose absence and cover labels cannot both be right."""
    t = facts.table
    cover, visible = t["cover"], t["visible"]
    labelled = cover.notna().groupby(t["sequence"]).transform("any")
    wrong = (visible & (cover == 0)) | (~visible & (cover > 0)) | (cover < 0) | (cover > 1)
    bad = wrong | (labelled & cover.isna() & facts.annotated)
    state = visible[bad].map({True: "visible", False: "absent"}).astype("str")
    return state + ", cover " + cover[bad].map("{:g}".format).astype("str")


def _tell_boxes(facts: Facts, bad: Mask) -> Values:
    boxes = facts.table.loc[bad, BOX]
    told = [",".join(f"{number:g}" for number in box) for box in boxes.to_numpy()]
    return pd.Series(told, index=boxes.index, dtype="str")


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
        "restore the image or delete the line from groundtruth.txt and the label files",
        find_missing_images,
    ),
    Rule(
        "each image has an annotation",
        "frame",
        "error",
        MissingFrameError,
        "groundtruth.txt has no line for the image",
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
        "correct the line, or mark the frame as absent in absence.label",
        find_not_finite,
    ),
    Rule(
        "boxes are positive",
        "frame",
        "error",
        BoxError,
        "the box x,y,w,h of a visible target needs a width and a height above 0",
        "correct the line, or mark the frame as absent in absence.label",
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
        "classes are known",
        "sequence",
        "error",
        ClassError,
        "the class is not stated, or data.classes in params.yaml does not list it",
        "correct object_class in meta_info.ini or add the class to data.classes",
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
)
