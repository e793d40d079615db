"""The gate: from what was measured and what is demanded to a verdict with a reason for every line.

A check passes, or fails with a `why` that a person can act on. A metric that is missing or not a
number fails. What does not apply (classes of a plain tracker, a champion before there is one) passes
and says so. Drift is reported and never blocks.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from trackline.config import Gate
from trackline.evaluation.comparison import (
    Bootstrap,
    Champion,
    compare,
    find_mismatch,
    select_scored,
    tabulate,
)
from trackline.evaluation.statistics import (
    NOT_INFERIOR,
    UNKNOWN,
    Interval,
    bootstrap_mean,
    find_detectable_difference,
    wilson_interval,
)

if TYPE_CHECKING:
    import pandas as pd

ROUNDING = 1e-4  # metrics may be written with four digits
MEANING = {
    "ao": "mean overlap",
    "gain_over_static": "mean overlap gained over a box that never moves",
    "template_gain": "mean overlap lost when the template shows another target",
    "sequence_accuracy": "share of sequences given the right class",
    "accuracy": "share of a sequence's frames given the right class",
}
NO_CLASSES = "does not apply: a plain tracker predicts no classes"
NO_CHAMPION = "does not apply: there is no champion yet"


@dataclass(frozen=True)
class Check:
    """One line of the verdict; numbers that make no sense for it are None, `why` is always there."""

    name: str
    passed: bool
    why: str
    value: float | None = None
    threshold: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Evidence:
    """All that the verdict rests on; `weights_sha256` is of the weights that would be registered."""

    metrics: Mapping[str, Any]
    predictions: pd.DataFrame
    validation: Mapping[str, Any]
    drift: Mapping[str, Any]
    weights_sha256: str
    champion: Champion | None = None

    def read(self, name: str) -> float:
        """Give a metric, NaN when it is missing or not a finite number."""
        value = self.metrics.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return math.nan
        return float(value) if math.isfinite(value) else math.nan

    @property
    def promises_classes(self) -> bool:
        """Whether the model has a class to gate; a plain tracker has not."""
        return bool(self.metrics.get("variant") != "tracking")


@dataclass(frozen=True)
class _Case:
    """What every check looks at: `scored` has a row a frame, `table` a row a sequence."""

    evidence: Evidence
    thresholds: Gate
    scored: pd.DataFrame
    table: pd.DataFrame
    bootstrap: Bootstrap


def judge(
    evidence: Evidence, thresholds: Gate, *, resamples: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """Apply every gate; return passed, verdict, comparison, smallest_detectable_difference, checks.

    Intervals are 95 % and come from resampling whole sequences. The smallest detectable difference
    is of AO, paired with the champion, or between two unrelated models while there is none. Raises
    EmptyDataError when no frame can be scored.
    """
    scored = select_scored(evidence.predictions)
    bootstrap = partial(bootstrap_mean, resamples=resamples, seed=seed)
    case = _Case(evidence, thresholds, scored, tabulate(scored), bootstrap)
    comparison, resolution, against_champion = _check_champion(case)
    checks = [
        _check_overlap(case),
        _check_gain(case, "gain_over_static", "ao_static"),
        _check_gain(case, "template_gain", "ao_wrong_template"),
        _check_classes(case),
        *against_champion,
        _check_validation(evidence.validation),
        _check_origin(case),
        Check("drift", True, f"found `{evidence.drift.get('verdict')}`, which never blocks"),
    ]
    passed = all(check.passed for check in checks)
    return {
        "passed": passed,
        "verdict": "accepted" if passed else "rejected",
        "comparison": comparison,
        "smallest_detectable_difference": _round(resolution),
        "champion_version": evidence.champion.version if evidence.champion else None,
        "variant": evidence.metrics.get("variant"),
        "drift": evidence.drift.get("verdict"),
        "checks": [
            {k: _round(v) for k, v in dataclasses.asdict(check).items()} for check in checks
        ],
    }


def _check_overlap(case: _Case) -> Check:
    interval = case.bootstrap(case.table["ao"].to_numpy(), case.table["frames"].to_numpy())
    return _check_floor("ao", case.evidence.read("ao"), case.thresholds, interval)


def _check_gain(case: _Case, name: str, control: str) -> Check:
    ao, without = case.evidence.read("ao"), case.evidence.read(control)
    if math.isnan(ao) or math.isnan(without):
        return _fail_missing(name, "ao" if math.isnan(ao) else control)
    return _check_floor(name, ao - without, case.thresholds)


def _check_classes(case: _Case) -> Check:
    name, interval = "sequence_accuracy", UNKNOWN
    if not case.evidence.promises_classes:
        return Check(name, True, NO_CLASSES)
    if "right" in case.table:
        interval = wilson_interval(int(case.table["right"].sum()), len(case.table))
    return _check_floor(name, case.evidence.read(name), case.thresholds, interval)


def _check_floor(name: str, value: float, thresholds: Gate, interval: Interval = UNKNOWN) -> Check:
    threshold: float = getattr(thresholds, f"min_{name}")
    if math.isnan(value):
        return _fail_missing(name, name)
    passed = value >= threshold
    verb = "at least" if passed else "below"
    why = f"{MEANING[name]} is {value:.3f}, {verb} gate.min_{name} = {threshold:g}"
    return Check(name, passed, why, value, threshold, interval.low, interval.high)


def _fail_missing(name: str, key: str) -> Check:
    return Check(name, False, f"{key} is missing or not a number; evaluate the model again")


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


def _check_origin(case: _Case) -> Check:
    """The metrics must be of the weights at hand and follow from the predictions at hand."""
    claimed, actual = case.evidence.metrics.get("weights_sha256"), case.evidence.weights_sha256
    wrong = [
        f"the metrics say {name} is {case.evidence.read(name):.4f}, the predictions give {value:.4f}"
        for name, value in _recompute(case).items()
        if not abs(case.evidence.read(name) - value) <= ROUNDING
    ]
    if claimed != actual:
        wrong.append(f"the metrics are of weights {str(claimed)[:12]}, the model has {actual[:12]}")
    if wrong:
        return Check("metrics_origin", False, f"{', '.join(wrong)}; evaluate the model again")
    return Check("metrics_origin", True, "the metrics follow from these weights and predictions")


def _recompute(case: _Case) -> dict[str, float]:
    found = {"ao": float(case.scored["iou"].mean())}
    if case.evidence.promises_classes and "right" in case.table:
        found["accuracy"] = float((case.scored["class"] == case.scored["label"]).mean())
        found["sequence_accuracy"] = float(case.table["right"].mean())
    return found


def _check_champion(case: _Case) -> tuple[str, float, list[Check]]:
    """The comparison of AO in a phrase, the smallest difference it reveals, and its two checks."""
    names, champion = ("champion_ao", "champion_accuracy"), case.evidence.champion
    if champion is None:
        alone = find_detectable_difference(
            case.table["ao"].to_numpy(), case.table["frames"].to_numpy()
        )
        unpaired = alone * math.sqrt(2)  # the variances of two unrelated models add
        return "no champion", unpaired, [Check(name, True, NO_CHAMPION) for name in names]
    data = case.evidence.metrics.get("evaluation_data_sha256")
    if why := find_mismatch(case.scored, champion, data):
        return "not comparable", math.nan, [Check(name, False, why) for name in names]
    other = tabulate(select_scored(champion.predictions))
    phrase, resolution, overlap = _check_pairs(case, champion, other, "ao")
    return phrase, resolution, [overlap, _check_classes_of_pairs(case, champion, other)]


def _check_classes_of_pairs(case: _Case, champion: Champion, other: pd.DataFrame) -> Check:
    name = "champion_accuracy"
    if not case.evidence.promises_classes:
        return Check(name, True, NO_CLASSES)
    if "accuracy" not in case.table:
        return Check(name, False, "the predictions name no classes; evaluate the model again")
    if "accuracy" not in other:
        return Check(name, True, "does not apply: the champion predicts no classes")
    return _check_pairs(case, champion, other, "accuracy")[2]


def _check_pairs(
    case: _Case, champion: Champion, other: pd.DataFrame, metric: str
) -> tuple[str, float, Check]:
    setting = f"champion_margin_{metric}"
    margin: float = getattr(case.thresholds, setting)
    pairs = compare(case.table, other, metric, margin, case.bootstrap)
    found = pairs.difference
    why = (
        f"{MEANING[metric]} differs from champion {champion.version} by {found.value:+.3f} "
        f"[{found.low:+.3f}, {found.high:+.3f}]: {pairs.phrase} at gate.{setting} = {margin:g}"
    )
    if pairs.phrase == "worse within noise":
        why += (
            f"; {pairs.sequences} sequences reveal no difference below {pairs.resolution:.3f}, "
            "so add sequences or widen the margin"
        )
    passed = pairs.phrase in NOT_INFERIOR
    check = Check(f"champion_{metric}", passed, why, found.value, -margin, found.low, found.high)
    return pairs.phrase, pairs.resolution, check


def _round(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return round(value, 6) if math.isfinite(value) else None
