"""The gate: from what was measured and what is demanded to a verdict with a reason for every line.

A check passes, or fails with a `why` that a person can act on. A metric that is missing or not a
number fails. What does not apply (classes of a plain tracker, a champion before there is one) passes
and says so.
"""

from __future__ import annotations

import dataclasses
import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from trackline.config import Gate
from trackline.evaluation import slices
from trackline.evaluation.checks import (
    MEANING,
    NO_CLASSES,
    Case,
    Check,
    Evidence,
    check_absolutes,
    check_origins,
)
from trackline.evaluation.comparison import (
    Champion,
    compare,
    find_mismatch,
    find_shift,
    select_scored,
    tabulate,
)
from trackline.evaluation.statistics import (
    NOT_INFERIOR,
    bootstrap_mean,
    correct_for_many,
    find_detectable_difference,
    find_p_of_loss,
    find_t_interval,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Champion", "Check", "Evidence", "judge"]

NO_CHAMPION = "does not apply: there is no champion yet"
SURELY = 0.05  # chance that any slice of a champion's equal is called worse, or below its floor


def judge(
    evidence: Evidence,
    thresholds: Gate,
    *,
    resamples: int = 2000,
    seed: int = 0,
    min_slice_sequences: int = 5,
) -> dict[str, Any]:
    """Apply every gate; return passed, verdict, comparison, smallest_detectable_difference, checks.

    Intervals are 95 % and come from resampling whole sequences. The smallest detectable difference
    is of AO, paired with the champion, or between two unrelated models while there is none. Raises
    EmptyDataError when no frame can be scored.
    """
    scored = select_scored(evidence.predictions)
    bootstrap = partial(bootstrap_mean, resamples=resamples, seed=seed)
    case = Case(evidence, thresholds, scored, tabulate(scored), bootstrap)
    comparison, resolution, against_champion = _check_champion(case)
    checks = [
        *check_absolutes(case),
        *against_champion,
        *_check_slices(case, min_slice_sequences),
        *check_origins(case),
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


def _check_champion(case: Case) -> tuple[str, float, list[Check]]:
    """The comparison of AO in a phrase, the smallest difference it reveals, and its two checks."""
    names, champion = ("champion_ao", "champion_accuracy"), case.evidence.champion
    if champion is None:
        overlaps, frames = case.table["ao"].to_numpy(), case.table["frames"].to_numpy()
        seed_sd = case.thresholds.seed_sd_ao / math.sqrt(2)
        alone = find_detectable_difference(overlaps, frames, seed_sd=seed_sd)
        unpaired = alone * math.sqrt(2)  # the variances of two unrelated models add
        return "no champion", unpaired, [Check(name, True, NO_CHAMPION) for name in names]
    data = case.evidence.metrics.get("evaluation_data_sha256")
    if why := find_mismatch(case.scored, champion, data):
        return "not comparable", math.nan, [Check(name, False, why) for name in names]
    other = tabulate(select_scored(champion.predictions))
    phrase, resolution, overlap = _check_pairs(case, champion, other, "ao")
    accuracy = _check_classes_of_pairs(case, champion, other)
    return phrase, resolution, [overlap, accuracy, *_check_shift(case, champion)]


def _check_classes_of_pairs(case: Case, champion: Champion, other: pd.DataFrame) -> Check:
    name = "champion_accuracy"
    if not case.evidence.promises_classes:
        return Check(name, True, NO_CLASSES)
    if "accuracy" not in case.table:
        return Check(name, False, "the predictions name no classes; evaluate the model again")
    if "accuracy" not in other:
        return Check(name, True, "does not apply: the champion predicts no classes")
    return _check_pairs(case, champion, other, "accuracy")[2]


def _check_pairs(
    case: Case, champion: Champion, other: pd.DataFrame, metric: str
) -> tuple[str, float, Check]:
    setting = f"champion_margin_{metric}"
    margin: float = getattr(case.thresholds, setting)
    seed_sd: float = getattr(case.thresholds, f"seed_sd_{metric}")
    pairs = compare(case.table, other, metric, margin, case.bootstrap, seed_sd)
    found = pairs.difference
    why = (
        f"{MEANING[metric]} differs from champion {champion.version} by {found.value:+.3f} "
        f"[{found.low:+.3f}, {found.high:+.3f}]: {pairs.phrase} at gate.{setting} = {margin:g}; "
        f"{pairs.sequences} sequences reveal no difference below {pairs.resolution:.3f}"
    )
    if pairs.phrase == "worse within noise":
        why += ", so add sequences or widen the margin"
    passed = pairs.phrase in NOT_INFERIOR
    check = Check(f"champion_{metric}", passed, why, found.value, -margin, found.low, found.high)
    return pairs.phrase, pairs.resolution, check


def _check_shift(case: Case, champion: Champion) -> list[Check]:
    """Whether the boxes surely lie beside the champion's, as those of another pixel origin do."""
    name, margin = "champion_shift", case.thresholds.champion_margin_shift_px
    if margin is None:
        return []
    found = find_shift(case.scored, select_scored(champion.predictions), case.bootstrap)
    axis = max(found, key=lambda a: abs(found[a].value))
    worst = found[axis]
    if math.isnan(worst.value):
        why = f"there is no frame that both this model and champion {champion.version} follow"
        return [Check(name, False, why, threshold=margin, at_most=True)]
    sure = [a for a, i in found.items() if i.low > margin or i.high < -margin]
    verb = f"surely more along {' and '.join(sure)} than" if sure else "not surely more than"
    why = (
        f"boxes lie {worst.value:+.2f} px [{worst.low:+.2f}, {worst.high:+.2f}] beside those of champion "
        f"{champion.version} along {axis}, {verb} gate.champion_margin_shift_px = {margin:g}"
    )
    low, high = (worst.low, worst.high) if worst.value >= 0 else (-worst.high, -worst.low)
    return [Check(name, not sure, why, abs(worst.value), margin, low, high, at_most=True)]


def _check_slices(case: Case, least: int) -> list[Check]:
    """No slice surely below its floor, none surely worse than the champion, each at 5 % for all slices."""
    truth, asked = case.evidence.truth, case.thresholds.slices
    if truth is None:
        return []
    kinds = slices.describe(truth).reindex(case.table["sequence"])
    members = {
        f"{kind} {name}": (kinds[kind] == name).to_numpy()
        for kind in kinds
        for name in sorted(kinds[kind].dropna().unique())
    }
    large = {name: rows for name, rows in members.items() if rows.sum() >= least}
    small = len(members) - len(large)
    note = f" ({small} of {len(members)} slices have fewer than {least} sequences)" * bool(small)
    floors = {"ao": asked.min_ao, "accuracy": asked.min_accuracy}
    checks = [
        _check_slice_floor(case, metric, floor, large, note)
        for metric, floor in floors.items()
        if floor is not None
    ]
    margin, champion = asked.champion_margin_ao, case.evidence.champion
    if margin is not None and champion is not None:
        checks.append(_check_slice_losses(case, champion, margin, large, note))
    return checks


def _check_slice_floor(
    case: Case, metric: str, floor: float, large: dict[str, Any], note: str
) -> Check:
    name, key = f"slices_{metric}", f"gate.slices.min_{metric}"
    if metric not in case.table:
        known = case.evidence.promises_classes
        return Check(name, not known, "the predictions name no classes" if known else NO_CLASSES)
    if not large:
        return Check(name, True, f"does not apply: no slice is large enough{note}")
    level = 1 - SURELY / len(large)  # Bonferroni: the intervals hold for all slices together
    column = case.table[metric].to_numpy()
    frames = case.table["frames"].to_numpy() if metric == "ao" else np.ones(len(column))
    found = {n: case.bootstrap(column[r], frames[r], level=level) for n, r in large.items()}
    worst = min(found, key=lambda n: found[n].value)
    below = [f"{n} {i.value:.3f}" for n, i in found.items() if i.high < floor]
    doubtful = [n for n, i in found.items() if i.value < floor <= i.high]
    why = f"{MEANING[metric]} of the weakest slice, {worst}, is {found[worst].value:.3f}"
    why += f"; below {key} = {floor:g}: {', '.join(below)}" if below else f", {key} = {floor:g}"
    why += f"; below within noise: {', '.join(doubtful)}" if doubtful else ""
    ends = found[worst]
    return Check(name, not below, why + note, ends.value, floor, ends.low, ends.high)


def _check_slice_losses(
    case: Case, champion: Champion, margin: float, large: dict[str, Any], note: str
) -> Check:
    """Whether some slice surely lost more than the margin; seeds alone make small losses sure."""
    name, data = "slices_champion", case.evidence.metrics.get("evaluation_data_sha256")
    if find_mismatch(case.scored, champion, data) or not large:
        return Check(name, True, f"does not apply: no slice can be compared{note}")
    other = tabulate(select_scored(champion.predictions)).set_index("sequence")["ao"]
    losses = case.table["ao"].to_numpy() - other.reindex(case.table["sequence"]).to_numpy()
    frames = case.table["frames"].to_numpy()
    beyond = [find_p_of_loss(losses[r] + margin, frames[r]) for r in large.values()]
    means = {n: float(np.average(losses[r], weights=frames[r])) for n, r in large.items()}
    sure = correct_for_many(np.array(beyond)) < SURELY
    worse = [f"{n} {means[n]:+.3f}" for n, is_sure in zip(large, sure, strict=True) if is_sure]
    worst = min(means, key=lambda n: means[n])
    rows, each = large[worst], SURELY / len(large)  # Holm's first step is Bonferroni's
    ends = find_t_interval(losses[rows], frames[rows], tail=each)
    limit = f"than gate.slices.champion_margin_ao = {margin:g} against champion {champion.version}"
    why = (
        f"surely lost more {limit}: {', '.join(worse)}"
        if worse
        else f"none of {len(large)} slices surely lost more {limit}; {worst} fares worst, {ends.value:+.3f}"
    )
    return Check(name, not worse, why + note, ends.value, -margin, ends.low, ends.high)


def _round(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return round(value, 6) if math.isfinite(value) else None
