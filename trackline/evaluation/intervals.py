"""How sure a metric is: its 95 % interval, by drawing whole sequences anew.

Every metric here is a sum over frames divided by another one, so it is a weighted mean of what each
sequence reaches. Not here are calibration errors and the bias of the centre, whose resamples lie above
the truth (they are norms: noise only adds), and costs, which are measured once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from trackline.evaluation import metrics
from trackline.evaluation.statistics import UNKNOWN, Interval, wilson_interval

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, Any]
Bootstrap = Callable[..., Interval]
CONTROL = "iou_"  # a column of overlaps that something else reached on the same frames


def _above(threshold: float) -> Callable[[pd.DataFrame], Array]:
    return lambda scored: scored["iou"].to_numpy() > threshold


def _hit(scored: pd.DataFrame) -> Array:
    return scored["iou"].to_numpy() >= metrics.HIT


def _right(scored: pd.DataFrame) -> Array:
    return (scored["class"] == scored["label"]).to_numpy()


def _follow_curve(column: str, thresholds: Array) -> Callable[[pd.DataFrame], Array]:
    return lambda scored: (scored[column].to_numpy()[:, None] <= thresholds).mean(axis=1)


# what a frame adds to a metric that is a mean over frames
PER_FRAME: dict[str, Callable[[pd.DataFrame], Array]] = {
    "ao": lambda s: s["iou"].to_numpy(),
    "sr50": _above(0.5),
    "sr75": _above(0.75),
    "success_auc": lambda s: 1 - _follow_curve("iou", metrics.IOU_THRESHOLDS)(s),
    "precision_20": lambda s: s["centre_error_px"].to_numpy() <= 20,
    "norm_precision_auc": _follow_curve("norm_error", metrics.NORM_THRESHOLDS),
    "accuracy": _right,
    "accuracy_given_iou50": _right,  # among the frames that hit
    "joint_accuracy": lambda s: _right(s) & _hit(s),
    "failures_per_1000": lambda s: 1000.0 * metrics.find_failures(s),
}
NEEDS = {
    "precision_20": "centre_error_px",
    "norm_precision_auc": "norm_error",
    "accuracy": "class",
    "accuracy_given_iou50": "class",
    "joint_accuracy": "class",
}


def find_intervals(matched: pd.DataFrame, bootstrap: Bootstrap) -> dict[str, float]:
    """The ends NAME_low and NAME_high of every metric that has an interval and can be told."""
    scored = metrics.select_scored(matched)
    found = {name: find_interval(scored, name, bootstrap) for name in PER_FRAME}
    found["sequence_accuracy"] = find_share_interval(scored)
    return {
        f"{name}_{end}": getattr(interval, end)
        for name, interval in found.items()
        if interval.low == interval.low
        for end in ("low", "high")
    }


def find_interval(scored: pd.DataFrame, name: str, bootstrap: Bootstrap) -> Interval:
    """The interval of one metric of PER_FRAME; unknown for others, and without its columns."""
    needed = NEEDS.get(name, "iou")
    if name not in PER_FRAME or needed not in scored or scored[needed].isna().all():
        return UNKNOWN
    weights = _hit(scored).astype(float) if name == "accuracy_given_iou50" else np.ones(len(scored))
    return _resample(scored, PER_FRAME[name](scored), weights, bootstrap)


def find_gain_interval(scored: pd.DataFrame, control: str, bootstrap: Bootstrap) -> Interval:
    """Overlap gained over a control on the same frames, paired; unknown without its column."""
    column = f"{CONTROL}{control}"
    if column not in scored or scored[column].isna().any():
        return UNKNOWN
    gained = (scored["iou"] - scored[column]).to_numpy()
    return _resample(scored, gained, np.ones(len(scored)), bootstrap)


def find_share_interval(scored: pd.DataFrame) -> Interval:
    """The interval of sequence_accuracy, by Wilson's formula; unknown without classes."""
    classes = [str(name)[2:] for name in scored if str(name).startswith("p_")]
    table = metrics.summarise_sequences(scored, classes)
    if "predicted" not in table:
        return UNKNOWN
    return wilson_interval(int((table["predicted"] == table["label"]).sum()), len(table))


def _resample(
    scored: pd.DataFrame, values: Array, weights: Array, bootstrap: Bootstrap
) -> Interval:
    """The interval of a weighted mean over frames; sequences without weight have no say."""
    parts = scored[["sequence"]].assign(total=values * weights, weight=weights)
    sums = parts.groupby("sequence", sort=True).sum()
    sums = sums[sums["weight"] > 0]
    if sums.empty:
        return UNKNOWN
    weight = sums["weight"].to_numpy()
    return bootstrap(sums["total"].to_numpy() / weight, weight)
