"""The one-pass protocols of the field's toolkits, so that numbers can stand beside published ones.

They look alike and differ in what they count; `docs/evaluation.md` has the table. A protocol first
turns each frame into an overlap, a centre error in pixels and one in target sizes, then counts how
many frames are above or within each threshold, and divides by the frames it thinks it has.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from trackline.data.table import BOX

Array = np.ndarray[Any, Any]


class Trajectory(NamedTuple):
    """One sequence: boxes [n, 4] in pixels, whether the target is there [n], the image's size."""

    truth_xywh: Array
    guess_xywh: Array
    visible: Array
    size_wh: tuple[float, float] = (np.inf, np.inf)


@dataclass(frozen=True)
class Protocol:
    """What a toolkit does with the frames it is given.

    `valid` says which truths are annotations at all, `absent` what happens to the other frames: they
    are left out ("dropped"), spoil their whole sequence ("spoil"), or count with the overlap −1 and
    the errors `absent_px` and `absent_norm`, of which −1 is a hit. `whole` pixels: corners are
    inclusive. `score_norm` is a threshold, or "mean" and "area" of the curve.
    """

    first: Literal["dropped", "truth"] = "truth"
    repair: Literal["never", "no size", "no size or NaN"] = "never"
    rounded: bool = False
    clipped: bool = False
    whole: bool = False
    valid: Literal["visible", "all four > 0", "size > 0", "numbers"] = "visible"
    absent: Literal["dropped", "spoil", "counted"] = "dropped"
    absent_px: float = np.inf
    absent_norm: float = -1.0
    blank_absent: bool = (
        False  # whether absent targets have NaN for a box, and keep broken predictions
    )
    hidden_norm: float | None = None  # in place of absent_norm where the target is marked invisible
    divisor: Literal["frames", "valid"] = "frames"
    pooled: bool = False
    strict: bool = True  # whether a success exceeds its threshold or may equal it
    least_size: float = 0.0  # of the truth, below which the normalised error is not divided further
    overlaps: int = 21
    pixels: int = 51
    norms: int = 51
    score_norm: Literal["mean", "area"] | float = "mean"
    score_areas: bool = False  # areas below the curves (trapezoids) instead of mean and 20 px


_GOT10K = Protocol(first="dropped", clipped=True, pooled=True, overlaps=101)
_PYTRACKING = Protocol(
    repair="no size", whole=True, valid="all four > 0", absent="counted", score_norm=0.2
)
_FLAVOURS: dict[str, dict[str, Any]] = {
    "otb": {},
    "got10k": {},
    "uav": {"absent_px": -1.0, "blank_absent": True},
    "lasot": {"hidden_norm": np.inf},
    "lasot_valid": {"hidden_norm": np.inf, "divisor": "valid"},
}
PROTOCOLS: dict[str, Protocol] = {
    "got10k": _GOT10K,
    "otb": Protocol(
        repair="no size or NaN",
        valid="all four > 0",
        absent="counted",
        absent_px=-1.0,
    ),
    "got10k_ope": Protocol(valid="numbers", least_size=1.0),
    "trackingnet": Protocol(
        rounded=True,
        whole=True,
        absent="spoil",
        strict=False,
        pixels=21,
        norms=21,
        score_norm="area",
        score_areas=True,
    ),
    **{f"pytracking_{name}": replace(_PYTRACKING, **given) for name, given in _FLAVOURS.items()},
    **{
        f"hiptrack_{name}": replace(_PYTRACKING, valid="size > 0", **given)
        for name, given in _FLAVOURS.items()
    },
}


class Errors(NamedTuple):
    """A row a counted frame; `frames` is what shares are divided by."""

    overlap: Array
    centre_px: Array
    norm: Array
    frames: int


class Scores(NamedTuple):
    """Curves over the protocol's thresholds, and the numbers that tables print."""

    success: Array
    precision: Array
    norm_precision: Array
    mean_overlap: float
    auc: float
    op50: float
    op75: float
    precision_score: float
    norm_precision_score: float

    def tell(self) -> dict[str, float]:
        """The numbers without the curves."""
        return {
            k: float(v)
            for k, v in self._asdict().items()
            if not k.startswith(("success", "norm_precision", "precision")) or k.endswith("score")
        }


def gather(truth: pd.DataFrame, predictions: pd.DataFrame) -> list[Trajectory]:
    """Trajectories of the sequences of an annotation table, from its rows and the predictions'."""
    guess = predictions.set_index(["sequence", "frame"])[BOX]
    found = []
    for _, rows in truth.sort_values("frame").groupby("sequence", sort=True):
        keys = pd.MultiIndex.from_frame(rows[["sequence", "frame"]])
        width, height = rows[["width", "height"]].iloc[0]
        size = (float(width) or np.inf, float(height) or np.inf)
        boxes = (rows[BOX].to_numpy(float), guess.loc[keys].to_numpy(float))
        found.append(Trajectory(*boxes, rows["visible"].to_numpy(bool), size))
    return found


def score(protocol: Protocol, trajectories: Iterable[Trajectory]) -> Scores:
    """Score sequences as the toolkit would; NaN where no frame counts."""
    measured = [e for t in trajectories if (e := measure(protocol, t)) is not None]
    if protocol.pooled and measured:
        parts = zip(*(e[:3] for e in measured), strict=True)
        overlap, centre, norm = (np.concatenate(part) for part in parts)
        measured = [Errors(overlap, centre, norm, len(overlap))]
    curves = [_draw(protocol, e) for e in measured if e.frames]
    if not curves:
        return Scores(*(np.array([np.nan]),) * 3, *(float("nan"),) * 6)
    success, precision, norm = (np.mean(c, axis=0) for c in zip(*curves, strict=True))
    means = [e.overlap[e.overlap >= 0].mean() if (e.overlap >= 0).any() else 0.0 for e in measured]
    numbers = (_sum_up(protocol, success), *_read(protocol, success))
    at_20 = precision[20] if not protocol.score_areas else _area(precision)
    return Scores(
        success,
        precision,
        norm,
        float(np.mean(means)),
        *numbers,
        float(at_20),
        _score_norm(protocol, norm),
    )


def measure(protocol: Protocol, sequence: Trajectory) -> Errors | None:
    """The errors of each frame that the protocol counts; None where it leaves the sequence out."""
    visible = np.asarray(sequence.visible, dtype=bool)
    if protocol.absent == "spoil" and not visible.all():
        return None
    truth = np.array(sequence.truth_xywh, dtype=float)
    guess = np.array(sequence.guess_xywh, dtype=float)
    if protocol.blank_absent:
        truth[~visible] = np.nan
    if protocol.rounded:
        truth, guess = truth.round(), guess.round()
    guess = _repair(protocol, guess, truth)
    if protocol.first == "truth":
        guess[0] = truth[0]
    centre, norm = _distances(truth, guess, protocol.least_size)
    seen = (truth, guess)
    if protocol.clipped:
        seen = (clip_to_image(truth, sequence.size_wh), clip_to_image(guess, sequence.size_wh))
    overlap = _overlap(*seen, protocol.whole)
    valid = _find_valid(protocol, truth, visible)
    frames = int(valid.sum()) if protocol.divisor == "valid" else len(truth)
    if protocol.absent == "counted":
        hidden = ~visible & (protocol.hidden_norm is not None)
        overlap = np.where(valid, overlap, -1)
        centre = np.where(valid, centre, protocol.absent_px)
        norm = np.where(valid, norm, protocol.absent_norm)
        if protocol.hidden_norm is not None:
            centre, norm = (np.where(hidden, protocol.hidden_norm, e) for e in (centre, norm))
        return Errors(overlap, centre, norm, frames)
    if protocol.first == "dropped":
        valid[0] = False
    return Errors(overlap[valid], centre[valid], norm[valid], int(valid.sum()))


def clip_to_image(box_xywh: Array, size_wh: Any) -> Array:
    """Clip boxes [n, 4] as the GOT-10k toolkit does: the corner first, then the size."""
    limit = np.asarray(size_wh, dtype=float)
    corner = np.clip(box_xywh[:, :2], 0, limit)
    return np.hstack((corner, np.clip(box_xywh[:, 2:], 0, limit - corner)))


def _repair(protocol: Protocol, guess: Array, truth: Array) -> Array:
    """Repeat the box before one that has no size."""
    if protocol.repair == "never":
        return guess
    if protocol.repair == "no size":
        broken = (guess[:, 2:] == 0).any(axis=1) & np.isfinite(truth).all(axis=1)
    else:
        broken = ~(guess[:, 2:] > 0).all(axis=1) | ~np.isfinite(guess).all(axis=1)
    for frame in np.flatnonzero(broken):
        if frame:
            guess[frame] = guess[frame - 1]
    return guess


def _find_valid(protocol: Protocol, truth: Array, visible: Array) -> Array:
    with np.errstate(invalid="ignore"):
        rules: dict[str, Array] = {
            "visible": visible,
            "all four > 0": np.all(truth > 0, axis=1),
            "size > 0": np.all(truth[:, 2:] > 0, axis=1),
            "numbers": np.all(np.isfinite(truth), axis=1),
        }
    valid: Array = rules[protocol.valid].copy()
    if protocol.hidden_norm is not None:  # only the flavours of LaSOT look at the flags
        valid &= visible
    return valid


def _overlap(a_xywh: Array, b_xywh: Array, whole: bool) -> Array:
    """Intersection over union; inclusive corners cancel but for the last bit, which decides ties."""
    one = 1.0 if whole else 0.0
    low = np.maximum(a_xywh[:, :2], b_xywh[:, :2])
    high = np.minimum(*(b[:, :2] + b[:, 2:] - one for b in (a_xywh, b_xywh)))
    inter = np.prod(np.clip(high - low + one, 0, None), axis=1)
    union = a_xywh[:, 2:].prod(axis=1) + b_xywh[:, 2:].prod(axis=1) - inter
    iou: Array = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
    return iou if whole else np.minimum(iou, 1)


def _distances(truth: Array, guess: Array, least: float) -> tuple[Array, Array]:
    """Errors of the centre [n] in pixels and in sizes of the truth."""
    centres = [b[:, :2] + (b[:, 2:] - 1) / 2 for b in (truth, guess)]
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = np.maximum(truth[:, 2:], least) if least else truth[:, 2:]
        pixels = np.sqrt(((centres[1] - centres[0]) ** 2).sum(axis=1))
        shift = (centres[1] - centres[0]) / unit if least else centres[1] / unit - centres[0] / unit
        norm = np.sqrt((shift**2).sum(axis=1))
    return np.nan_to_num(pixels, nan=np.inf), np.nan_to_num(norm, nan=np.inf)


def _draw(protocol: Protocol, errors: Errors) -> tuple[Array, Array, Array]:
    """The three curves of one sequence, or of all frames pooled."""
    above = np.greater if protocol.strict else np.greater_equal
    steps = (
        np.linspace(0, 1, protocol.overlaps),
        np.linspace(0, 50, protocol.pixels),
        np.linspace(0, 0.5, protocol.norms),
    )
    success = above(errors.overlap[:, None], steps[0]).sum(axis=0)
    precision = (errors.centre_px[:, None] <= steps[1]).sum(axis=0)
    norm = (errors.norm[:, None] <= steps[2]).sum(axis=0)
    return success / errors.frames, precision / errors.frames, norm / errors.frames


def _sum_up(protocol: Protocol, success: Array) -> float:
    return _area(success) if protocol.score_areas else float(success.mean())


def _read(protocol: Protocol, success: Array) -> tuple[float, float]:
    last = protocol.overlaps - 1
    return float(success[last // 2]), float(success[last * 3 // 4])


def _score_norm(protocol: Protocol, norm: Array) -> float:
    if protocol.score_norm == "area":
        return _area(norm)
    if protocol.score_norm == "mean":
        return float(norm.mean())
    return float(norm[round(protocol.score_norm * 100)])


def _area(curve: Array) -> float:
    return float(np.trapezoid(curve, dx=1 / (len(curve) - 1)))
