"""The promises that annotated footage must keep, what it costs to break one, and how to mend it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from trackline.data import copies, defects
from trackline.data.facts import Facts, Unit, Values
from trackline.errors import (
    BoxError,
    ClassError,
    CorruptImageError,
    DataError,
    MissingFrameError,
    ValidationError,
)

Severity: TypeAlias = Literal["error", "warning", "ignore"]


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


RULES = (
    Rule(
        "each frame occurs once",
        "frame",
        "error",
        ValidationError,
        "two images claim the same number in one sequence",
        "delete the copy, for example a sequence that is both loose and in a shard",
        defects.find_twice,
    ),
    Rule(
        "each annotated frame has an image",
        "frame",
        "error",
        MissingFrameError,
        "a box without its image cannot be learned",
        "restore the image, or delete the line from the annotation and the label files",
        defects.find_missing_images,
    ),
    Rule(
        "each image has an annotation",
        "frame",
        "error",
        MissingFrameError,
        "the annotation has no line for the image",
        "annotate the image or delete it",
        defects.find_unannotated,
    ),
    Rule(
        "frames are contiguous",
        "frame",
        "error",
        ValidationError,
        "numbers are skipped, so motion between frames is not what it seems",
        "restore the skipped frames or split the sequence there",
        defects.find_gaps,
        "sequence",
    ),
    Rule(
        "each image decodes",
        "frame",
        "error",
        CorruptImageError,
        "the image is damaged, cut short or of another format",
        "replace the image file or drop its sequence",
        defects.find_corrupt,
    ),
    Rule(
        "boxes are finite",
        "frame",
        "error",
        BoxError,
        "a visible target needs four finite numbers x,y,w,h",
        "correct the line, or mark the frame as absent",
        defects.find_not_finite,
    ),
    Rule(
        "boxes are positive",
        "frame",
        "error",
        BoxError,
        "the box x,y,w,h of a visible target needs a width and a height above 0",
        "correct the line, or mark the frame as absent",
        defects.find_not_positive,
    ),
    Rule(
        "boxes are inside their image",
        "frame",
        "error",
        BoxError,
        "the box x,y,w,h reaches more than {outside_tolerance_px:g} px beyond its image",
        "clip the box to the image or raise validate.outside_tolerance_px",
        defects.find_outside,
    ),
    Rule(
        "boxes end at the border of their image",
        "frame",
        "warning",
        BoxError,
        "the box goes on beyond the image, as the layout allows, but gates measure overlap with all of it",
        "clip the box to the image if the target's hidden part should not count",
        defects.find_beyond,
    ),
    Rule(
        "classes are known",
        "sequence",
        "error",
        ClassError,
        "the class is not stated, or data.classes in params.yaml does not list it",
        "add the class to data.classes, or say in data.class_map which of them it is",
        defects.find_unknown_classes,
    ),
    Rule(
        "one class in a sequence",
        "frame",
        "error",
        ClassError,
        "the class changes within the sequence",
        "give all frames of the sequence one class",
        defects.find_changed_classes,
        "sequence",
    ),
    Rule(
        "the target is visible at first",
        "sequence",
        "error",
        ValidationError,
        "a tracker learns the target's looks from the first frame",
        "cut the frames before the target appears",
        defects.find_hidden_starts,
    ),
    Rule(
        "enough visible frames",
        "sequence",
        "error",
        ValidationError,
        "a sequence needs {min_visible_frames} visible frames or more",
        "drop the sequence or lower validate.min_visible_frames",
        defects.find_short,
    ),
    Rule(
        "each split has enough sequences",
        "split",
        "error",
        ValidationError,
        "train, val and test each need {min_sequences_per_split} sequences or more",
        "add sequences to the split or lower validate.min_sequences_per_split",
        defects.find_small_splits,
    ),
    Rule(
        "no image is in two splits",
        "frame",
        "error",
        ValidationError,
        "an image that was trained on proves nothing in a test",
        "keep the sequence in one split only",
        copies.find_leaks,
    ),
    Rule(
        "absence and cover agree",
        "frame",
        "warning",
        ValidationError,
        "a target is absent exactly when its cover is 0; covers count eighths, 0 to 8",
        "correct absence.label or cover.label",
        defects.find_contradictions,
    ),
    Rule(
        "images are not gigantic",
        "frame",
        "error",
        CorruptImageError,
        "the image has more than {max_image_mpx:g} million pixels, by mistake or to fill the memory",
        "scale it down, or raise validate.max_image_mpx",
        defects.find_huge,
    ),
    Rule(
        "images have the stated size",
        "sequence",
        "error",
        ValidationError,
        "the meta file states another size, so boxes may be of images scaled since",
        "correct the meta file, or bring the images in the size that was annotated",
        defects.find_misstated_sizes,
    ),
    Rule(
        "one size in a sequence",
        "frame",
        "warning",
        ValidationError,
        "the image has another size than the first of its sequence",
        "check that its box was annotated in this size",
        defects.find_other_sizes,
    ),
    Rule(
        "footage has the stated length",
        "sequence",
        "warning",
        ValidationError,
        "the meta file states another number of images",
        "fetch the whole sequence or correct the meta file",
        defects.find_misstated_lengths,
    ),
    Rule(
        "absent targets have no box",
        "frame",
        "warning",
        ValidationError,
        "the frame is marked as absent and yet has a box",
        "clear the mark where the target is in view; the box is not used",
        defects.find_boxes_of_absent,
    ),
    Rule(
        "targets move plausibly",
        "frame",
        "warning",
        BoxError,
        "the box moves more than {max_step:g} times its size in one frame",
        "correct the box, split the sequence at a cut, or raise validate.max_step",
        defects.find_teleports,
    ),
    Rule(
        "boxes change size plausibly",
        "frame",
        "warning",
        BoxError,
        "the area of the box changes more than {max_growth:g} times in one frame",
        "correct the box, or raise validate.max_growth",
        defects.find_explosions,
    ),
    Rule(
        "boxes are alive",
        "frame",
        "warning",
        BoxError,
        "the box stays the same to the last digit for {max_frozen_frames} frames or more, as placeholders do",
        "annotate the stretch, or raise validate.max_frozen_frames where the target does stand still",
        defects.find_frozen,
    ),
    Rule(
        "consecutive images differ",
        "frame",
        "warning",
        ValidationError,
        "the image repeats the one before",
        "drop the repeated frames with their annotation",
        copies.find_repeats,
    ),
    Rule(
        "no image is in two sequences",
        "frame",
        "warning",
        ValidationError,
        "another sequence of the split holds the same image",
        "drop one of the copies, so that it does not count twice",
        copies.find_copies,
    ),
    Rule(
        "no sequence resembles one of another split",
        "sequence",
        "warning",
        ValidationError,
        "the same footage, encoded or scaled anew, seems to be in an earlier split",
        "look at both, and keep one of them",
        copies.find_near_leaks,
    ),
    Rule(
        "each class is trained",
        "split",
        "warning",
        ClassError,
        "the training split has no sequence of these classes",
        "move some of their sequences to train",
        defects.find_untrained_classes,
    ),
    Rule(
        "classes are balanced",
        "split",
        "warning",
        ClassError,
        "the most common class has more than {max_imbalance:g} times the sequences of the rarest",
        "add sequences of the rare class, or raise validate.max_imbalance",
        defects.find_imbalance,
    ),
)
