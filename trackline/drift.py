"""Has the data changed? Evidently scores each feature; thresholds come from the data's own noise."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from trackline import config
from trackline.data.profile import FEATURES, NUMBERS, Profile

Array = np.ndarray[Any, Any]
Distance = Callable[[Array], Array]  # from the reference's rows [shuffles, rows] to [shuffles]

METHODS = dict.fromkeys(FEATURES, "wasserstein") | {"class": "jensenshannon"}
CHUNK = 64  # shuffles at once: few enough for the processor's cache
BINS = 24


@dataclass(frozen=True)
class Feature:
    """How far one feature has moved, and how far it moves by chance."""

    name: str
    score: float | None  # None: not compared
    threshold: float | None
    moved: bool
    why: str


@dataclass(frozen=True)
class Comparison:
    """The verdict on all features."""

    verdict: Literal["no reference", "none", "warn", "drift", "too few sequences"]
    features: tuple[Feature, ...]

    def tell(self, current: Profile, reference: Profile | None) -> dict[str, Any]:
        """The verdict as plain values for metrics/drift.json."""
        return {
            "verdict": self.verdict,
            "moved": sum(feature.moved for feature in self.features),
            "sequences": len(current.features),
            "sampled_from": current.sequences,
            "reference_sequences": len(reference.features) if reference else 0,
            "features": [_tell(feature) for feature in self.features],
        }


def compare(current: Profile, reference: Profile | None, limits: config.Drift) -> Comparison:
    """Compare today's profile with the reference; with too few sequences nothing is claimed."""
    if reference is None:
        return Comparison("no reference", ())
    if min(len(current.features), len(reference.features)) < limits.min_sequences:
        return Comparison("too few sequences", ())
    features = tuple(_compare_features(current.features, reference.features, limits))
    moved = sum(feature.moved for feature in features)
    if moved >= limits.drift_features:
        return Comparison("drift", features)
    return Comparison("warn" if moved >= limits.warn_features else "none", features)


def calibrate(reference: pd.Series[Any], current: pd.Series[Any], limits: config.Drift) -> float:
    """Find the score that chance alone reaches with a probability of false_alarm_rate / features.

    Both samples are shuffled together and split anew at their own sizes (a permutation test, which is
    exact for any size); the threshold lies above all but that share of the shuffled scores. A shift
    smaller than min_shift never counts.
    """
    pool = pd.concat([reference, current], ignore_index=True)
    distance = _class_distance(pool) if reference.name == "class" else _shift(pool, reference)
    rate = limits.false_alarm_rate / len(
        FEATURES
    )  # Bonferroni: all features share the false alarms
    shuffles = int(np.ceil(2 / rate))
    rng = np.random.default_rng(limits.seed)
    belongs = np.arange(len(pool)) < len(reference)
    parts = range(0, shuffles, CHUNK)
    scores = [distance(rng.permuted(np.tile(belongs, (CHUNK, 1)), axis=1)) for _ in parts]
    highest = np.sort(np.concatenate(scores)[:shuffles])
    chance = highest[-int(rate * (shuffles + 1))]
    return max(limits.min_shift, float(np.nextafter(chance, np.inf)))


def render(comparison: Comparison, current: Profile, reference: Profile | None) -> str:
    """Draw the report: one HTML page that needs nothing else."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    return pages.get_template("drift.html.j2").render(
        comparison=comparison,
        current=current,
        reference=reference,
        judged={feature.name: feature for feature in comparison.features},
        charts=[_draw(name, current, reference) for name in FEATURES],
        meaning=FEATURES,
    )


def _compare_features(
    current: pd.DataFrame, reference: pd.DataFrame, limits: config.Drift
) -> list[Feature]:
    """Judge each feature that enough sequences on both sides have a value of."""
    now = {name: _known(current[name]) for name in FEATURES}
    then = {name: _known(reference[name]) for name in FEATURES}
    fewest = {name: min(len(now[name]), len(then[name])) for name in FEATURES}
    enough = [name for name in FEATURES if fewest[name] >= limits.min_sequences]
    thresholds = {name: calibrate(then[name], now[name], limits) for name in enough}
    scores = _score(current[enough], reference[enough], thresholds)
    return [
        Feature(name, scores[name][0], thresholds[name], scores[name][1], "")
        if name in scores
        else Feature(name, None, None, False, f"only {fewest[name]} sequences have a value")
        for name in FEATURES
    ]


def _known(values: pd.Series[Any]) -> pd.Series[Any]:
    return values.replace([np.inf, -np.inf], np.nan).dropna()


def _score(
    current: pd.DataFrame, reference: pd.DataFrame, thresholds: dict[str, float]
) -> dict[str, tuple[float, bool]]:
    """Let Evidently score and judge each column: by name, the distance and whether it is too far."""
    os.environ.setdefault("DO_NOT_TRACK", "true")
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    numbers = [name for name in thresholds if name in NUMBERS]
    kinds = DataDefinition(
        numerical_columns=numbers, categorical_columns=[n for n in thresholds if n not in numbers]
    )
    drifts = [
        ValueDrift(column=name, method=METHODS[name], threshold=threshold)
        for name, threshold in thresholds.items()
    ]
    sides = [Dataset.from_pandas(side, data_definition=kinds) for side in (current, reference)]
    snapshot = Report(drifts, include_tests=True).run(*sides).dict()
    failed = {
        test["metric_config"]["params"]["column"]
        for test in snapshot["tests"]
        if test["status"].value == "FAIL"
    }
    values = {metric["config"]["column"]: float(metric["value"]) for metric in snapshot["metrics"]}
    return {name: (score, name in failed) for name, score in values.items()}


def _shift(pool: pd.Series[Any], reference: pd.Series[Any]) -> Distance:
    """Evidently's "wasserstein": the area between the distribution functions, over the reference's std."""
    order = np.argsort(pool.to_numpy(), kind="stable")
    gaps = np.diff(pool.to_numpy()[order])
    norm = max(float(np.std(reference.to_numpy())), 0.001)

    def measure(belongs: Array) -> Array:
        below = belongs[:, order[:-1]].cumsum(axis=1, dtype=np.float32)
        theirs = np.arange(1, len(pool), dtype=np.float32) - below
        apart = below / len(reference) - theirs / (len(pool) - len(reference))
        distances: Array = np.abs(apart) @ gaps / norm
        return distances

    return measure


def _class_distance(pool: pd.Series[Any]) -> Distance:
    """Evidently's "jensenshannon": the distance of the class frequencies, natural logarithm."""
    codes, names = pd.factorize(pool)
    members = np.eye(len(names))[codes]
    total = members.sum(axis=0)

    def measure(belongs: Array) -> Array:
        mine = belongs @ members
        sides = [part / part.sum(axis=1, keepdims=True) for part in (mine, total - mine)]
        gain = _entropy((sides[0] + sides[1]) / 2) - (_entropy(sides[0]) + _entropy(sides[1])) / 2
        distances: Array = np.sqrt(gain.clip(min=0))
        return distances

    return measure


def _entropy(shares: Array) -> Array:
    entropy: Array = -(shares * np.log(np.where(shares > 0, shares, 1))).sum(axis=1)
    return entropy


def _tell(feature: Feature) -> dict[str, Any]:
    numbers = {"score": feature.score, "threshold": feature.threshold}
    rounded = {k: None if v is None else round(v, 4) for k, v in numbers.items()}
    return {"name": feature.name, **rounded, "moved": feature.moved, "why": feature.why}


def _draw(name: str, current: Profile, reference: Profile | None) -> dict[str, Any]:
    """Shares of the sequences in bins that both sides have in common, for the page's bars."""
    sides = [_known(side.features[name]) for side in (current, reference) if side]
    pool = pd.concat(sides, ignore_index=True)
    if name == "class":
        labels = pool.value_counts().sort_index().nlargest(BINS, keep="first").index
        counts = [side.value_counts().reindex(labels, fill_value=0).to_numpy() for side in sides]
        ends = [str(labels[0]), str(labels[-1])] if len(labels) else ["", ""]
    else:
        edges = np.histogram_bin_edges(pool, BINS)
        counts = [np.histogram(side, edges)[0] for side in sides]
        ends = [f"{edge:.3g}" for edge in (edges[0], edges[-1])]
    shares = [count / max(count.sum(), 1) for count in counts]
    tallest = max(share.max(initial=0) for share in shares) or 1
    return {"name": name, "ends": ends, "bars": [(share / tallest).tolist() for share in shares]}
