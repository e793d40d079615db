"""The checks of one model by itself: floors, ceilings, and whether its numbers may be believed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from trackline.config import Gate
from trackline.data.table import BOX
from trackline.errors import DataError
from trackline.evaluation import metrics
from trackline.evaluation.comparison import Champion
from trackline.evaluation.intervals import (
    CONTROL,
    Bootstrap,
    find_gain_interval,
    find_interval,
    find_share_interval,
)
from trackline.evaluation.statistics import UNKNOWN, Interval

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, Any]

ROUNDING = 1e-4  # metrics may be written with four digits
IOU_ROUNDING = 1e-6
MEANING = {
    "ao": "mean overlap",
    "gain_over_static": "mean overlap gained over a box that never moves",
    "template_gain": "mean overlap lost when the template shows another target",
    "sequence_accuracy": "share of sequences given the right class",
    "accuracy": "share of frames given the right class",
    "sr50": "share of frames with an overlap above 0.5",
    "sr75": "share of frames with an overlap above 0.75",
    "success_auc": "area under the success curve",
    "precision_20": "share of frames with the centre within 20 px",
    "norm_precision_auc": "area under the curve of normalised precision",
    "accuracy_given_iou50": "share of well placed boxes given the right class",
    "joint_accuracy": "share of frames with box and class right at once",
    "time_to_failure": "share of a sequence that is followed before the first failure",
    "ece": "calibration error of the class",
    "box_ece": "calibration error of the box",
    "failures_per_1000": "failures in 1 000 frames",
    "centre_bias_px": "how far boxes lie off to one side in px",
    "latency_ms": "time for a frame of one stream in ms",
    "size_mb": "size of the weights in MB",
    "quarantined": "share of annotation rows in quarantine",
}
OF_CLASSES = ("accuracy", "accuracy_given_iou50", "joint_accuracy", "ece")
NO_CLASSES = "does not apply: a plain tracker predicts no classes"


@dataclass(frozen=True)
class Check:
    """One line of the verdict; numbers that make no sense for it are None, `why` is always there.

    The value must be at least the threshold, or `at_most` that.
    """

    name: str
    passed: bool
    why: str
    value: float | None = None
    threshold: float | None = None
    low: float | None = None
    high: float | None = None
    at_most: bool = False


@dataclass(frozen=True)
class Evidence:
    """All that the verdict rests on; `weights_sha256` is of the weights that would be registered.

    `truth` is the annotation table of the test split: without it nobody can tell whether the
    predictions are whole. `sealed` tells whether the metrics are as evaluation left them.
    """

    metrics: Mapping[str, Any]
    predictions: pd.DataFrame
    validation: Mapping[str, Any]
    drift: Mapping[str, Any]
    weights_sha256: str
    champion: Champion | None = None
    truth: pd.DataFrame | None = None
    sealed: bool = True

    def read(self, name: str) -> float:
        """Give a metric, NaN when it is missing or not a finite number."""
        return as_number(self.metrics.get(name))

    @property
    def promises_classes(self) -> bool:
        """Whether the model has a class to gate; a plain tracker has not."""
        return bool(self.metrics.get("variant") != "tracking")


@dataclass(frozen=True)
class Case:
    """What every check looks at: `scored` has a row a frame, `table` a row a sequence."""

    evidence: Evidence
    thresholds: Gate
    scored: pd.DataFrame
    table: pd.DataFrame
    bootstrap: Bootstrap
    slices: pd.DataFrame | None = field(default=None)


def as_number(value: Any) -> float:
    """A finite number as it is, anything else as NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value) if math.isfinite(value) else math.nan


def check_absolutes(case: Case) -> list[Check]:
    """Everything a model must reach by itself."""
    return [
        _check_overlap(case),
        _check_gain(case, "gain_over_static", "static"),
        _check_gain(case, "template_gain", "wrong_template"),
        _check_classes(case),
        *_check_floors(case),
        *_check_ceilings(case),
    ]


def check_origins(case: Case) -> list[Check]:
    """Whether data and numbers may be believed at all."""
    return [
        _check_validation(case.evidence.validation),
        *_check_whole(case),
        _check_origin(case),
        _check_drift(case),
    ]


def _check_overlap(case: Case) -> Check:
    interval = find_interval(case.scored, "ao", case.bootstrap)
    return _check_floor("ao", case.evidence.read("ao"), case.thresholds.min_ao, interval)


def _check_gain(case: Case, name: str, control: str) -> Check:
    ao, without = case.evidence.read("ao"), case.evidence.read(f"ao_{control}")
    if math.isnan(ao) or math.isnan(without):
        return _fail_missing(name, "ao" if math.isnan(ao) else f"ao_{control}")
    interval = find_gain_interval(case.scored, control, case.bootstrap)
    return _check_floor(name, ao - without, getattr(case.thresholds, f"min_{name}"), interval)


def _check_classes(case: Case) -> Check:
    name = "sequence_accuracy"
    if not case.evidence.promises_classes:
        return Check(name, True, NO_CLASSES)
    value, interval = case.evidence.read(name), find_share_interval(case.scored)
    return _check_floor(name, value, case.thresholds.min_sequence_accuracy, interval)


def _check_floors(case: Case) -> list[Check]:
    floors = vars(case.thresholds.floors)
    asked = {name: floor for name, floor in floors.items() if floor is not None}
    return [_check_metric(case, name, floor) for name, floor in asked.items()]


def _check_metric(case: Case, name: str, floor: float) -> Check:
    if name in OF_CLASSES and not case.evidence.promises_classes:
        return Check(name, True, NO_CLASSES)
    interval = find_interval(case.scored, name, case.bootstrap)
    return _check_floor(name, case.evidence.read(name), floor, interval, f"floors.{name}")


def _check_ceilings(case: Case) -> list[Check]:
    asked = {k: v for k, v in vars(case.thresholds.ceilings).items() if v is not None}
    return [_check_ceiling(case, name, ceiling) for name, ceiling in asked.items()]


def _check_ceiling(case: Case, name: str, ceiling: float) -> Check:
    if name in OF_CLASSES and not case.evidence.promises_classes:
        return Check(name, True, NO_CLASSES)
    value = case.evidence.read(name)
    if name == "quarantined":
        value = find_quarantined(case.evidence.validation)
    if math.isnan(value):
        return _fail_missing(name, name, at_most=True)
    passed = value <= ceiling
    verb = "within" if passed else "above"
    why = f"{MEANING[name]} is {value:.3g}, {verb} gate.ceilings.{name} = {ceiling:g}"
    ends = find_interval(case.scored, name, case.bootstrap)
    return Check(name, passed, why, value, ceiling, ends.low, ends.high, at_most=True)


def find_quarantined(validation: Mapping[str, Any]) -> float:
    """Share of annotation rows that validation put into quarantine; NaN when it does not say.

    Where it gives no share itself, it is at most the sum over rules about frames.
    """
    if "quarantined_share" in validation:
        return as_number(validation["quarantined_share"])
    rows, rules = as_number(validation.get("rows")), validation.get("rules")
    if not isinstance(rules, list) or not rows > 0:
        return math.nan
    counts = [as_number(rule.get("count")) for rule in rules if rule.get("unit") == "frame"]
    return min(1.0, sum(counts) / rows)


def _check_floor(
    name: str, value: float, floor: float, interval: Interval = UNKNOWN, key: str = ""
) -> Check:
    if math.isnan(value):
        return _fail_missing(name, name)
    passed = value >= floor
    verb = "at least" if passed else "below"
    why = f"{MEANING[name]} is {value:.3f}, {verb} gate.{key or f'min_{name}'} = {floor:g}"
    return Check(name, passed, why, value, floor, interval.low, interval.high)


def _fail_missing(name: str, key: str, at_most: bool = False) -> Check:
    remedy = "validate the data again" if name == "quarantined" else "evaluate the model again"
    return Check(name, False, f"{key} is missing or not a number; {remedy}", at_most=at_most)


def _check_validation(validation: Mapping[str, Any]) -> Check:
    passed = validation.get("passed")
    if passed is True:
        return Check("data_validated", True, "the annotations passed validation")
    why = (
        "were not validated; run python -m components.validate"
        if passed is None
        else "failed validation; see reports/validation.html"
    )
    return Check("data_validated", False, f"the annotations {why}")


def _check_whole(case: Case) -> list[Check]:
    """Every test frame has one prediction, whose overlap follows from its box."""
    truth = case.evidence.truth
    if truth is None:
        return []
    name = "predictions_whole"
    try:
        again = metrics.match(truth, case.evidence.predictions)
    except (DataError, KeyError) as error:
        return [Check(name, False, str(error))]
    boxes = again[BOX].to_numpy(float)
    if (broken := ~np.isfinite(boxes).all(axis=1)).any():
        row = again.iloc[int(broken.argmax())]
        why = f"{int(broken.sum())} boxes are not numbers, the first is of"
        return [Check(name, False, f"{why} {row['sequence']}/{row['frame']}; train again")]
    given = case.evidence.predictions.set_index(metrics.KEYS)["iou"].sort_index().to_numpy()
    found = again.set_index(metrics.KEYS)["iou"].sort_index().to_numpy()
    wrong = ~np.isclose(given, found, rtol=0, atol=IOU_ROUNDING, equal_nan=True)
    if wrong.any():
        row = again.sort_values(metrics.KEYS).iloc[int(wrong.argmax())]
        why = f"{int(wrong.sum())} overlaps do not follow from their boxes, the first is of"
        return [Check(name, False, f"{why} {row['sequence']}/{row['frame']}; evaluate again")]
    return [Check(name, True, f"all {len(again)} test frames have a prediction")]


def _check_origin(case: Case) -> Check:
    """The metrics must be of the weights at hand and follow from the predictions at hand."""
    claimed, actual = case.evidence.metrics.get("weights_sha256"), case.evidence.weights_sha256
    wrong = [
        f"the metrics say {name} is {case.evidence.read(name):.4f}, the predictions give {value:.4f}"
        for name, value in _recompute(case).items()
        if not abs(case.evidence.read(name) - value) <= ROUNDING
    ]
    if claimed != actual:
        wrong.append(f"the metrics are of weights {str(claimed)[:12]}, the model has {actual[:12]}")
    if not case.evidence.sealed:
        wrong.append("the metrics were edited after the evaluation")
    if wrong:
        return Check("metrics_origin", False, f"{', '.join(wrong)}; evaluate the model again")
    return Check("metrics_origin", True, "the metrics follow from these weights and predictions")


def _recompute(case: Case) -> dict[str, float]:
    found = {"ao": float(case.scored["iou"].mean())}
    for control in ("static", "wrong_template"):
        if (column := f"{CONTROL}{control}") in case.scored:
            found[f"ao_{control}"] = float(case.scored[column].mean())
    if case.evidence.promises_classes and "right" in case.table:
        found["accuracy"] = float((case.scored["class"] == case.scored["label"]).mean())
        found["sequence_accuracy"] = float(case.table["right"].mean())
    return found


def _check_drift(case: Case) -> Check:
    found, blocks = case.evidence.drift.get("verdict"), case.thresholds.drift_blocks
    if blocks == "never":
        return Check("drift", True, f"found `{found}`, which never blocks")
    refused = {"drift": ("drift",), "warn": ("warn", "drift")}[blocks]
    passed = found is not None and found not in refused
    why = f"found `{found}`, and gate.drift_blocks = {blocks}"
    return Check("drift", passed, why if passed else f"{why}; look at reports/drift.html")
