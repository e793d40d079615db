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
from trackline.data.profile import DIRECTIONS, FEATURES, Profile

Array = np.ndarray[Any, Any]
Distance = Callable[[Array], Array]  # from the reference's rows [shuffles, rows] to [shuffles]

METHODS = dict.fromkeys(FEATURES, "wasserstein") | {"class": "jensenshannon"}
COLUMNS = {name: [name] for name in FEATURES} | {
    "embedding": [f"embedding {k + 1}" for k in range(DIRECTIONS)]
}
CHUNK = 64  # shuffles at once: few enough for the processor's cache
BINS = 24
ROUNDING = 1e-5  # by which scores of shuffles, in float32, differ from Evidently's


@dataclass(frozen=True)
class Feature:
    """How far one feature has moved, and how far it moves by chance."""

    name: str
    score: float | None  # None: not compared
    threshold: float | None
    moved: bool
    why: str
    column: str = ""  # of a feature that has several the one that moved furthest


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
            "crops": len(current.embedding),
            "reference_crops": len(reference.embedding) if reference else 0,
            "features": [_tell(feature) for feature in self.features],
        }


def compare(current: Profile, reference: Profile | None, limits: config.Drift) -> Comparison:
    """Compare today's profile with the reference; with too few sequences nothing is claimed."""
    if reference is None:
        return Comparison("no reference", ())
    if min(len(current.features), len(reference.features)) < limits.min_sequences:
        return Comparison("too few sequences", ())
    features = tuple(_compare_features(_lay_out(current), _lay_out(reference), limits))
    moved = sum(feature.moved for feature in features)
    if moved >= limits.drift_features:
        return Comparison("drift", features)
    return Comparison("warn" if moved >= limits.warn_features else "none", features)


def calibrate(reference: pd.DataFrame, current: pd.DataFrame, limits: config.Drift) -> float:
    """Find the score that chance alone reaches with a probability of false_alarm_rate / features.

    Both samples of a feature are shuffled together and split anew at their own sizes (a permutation
    test, which is exact for any size); the threshold lies above all but that share of the shuffled
    scores, of which the feature's furthest column has the highest. A shift smaller than min_shift never
    counts.
    """
    pool = pd.concat([reference, current], ignore_index=True)
    distances = [
        _class_distance(pool[name]) if name == "class" else _shift(pool[name], reference[name])
        for name in pool
    ]
    rate = limits.false_alarm_rate / len(
        FEATURES
    )  # Bonferroni: all features share the false alarms
    shuffles = int(np.ceil(2 / rate))
    rng = np.random.default_rng(limits.seed)
    belongs = np.arange(len(pool)) < len(reference)
    scores = []
    for _ in range(0, shuffles, CHUNK):
        shuffled = rng.permuted(np.tile(belongs, (CHUNK, 1)), axis=1)
        scores.append(np.max([distance(shuffled) for distance in distances], axis=0))
    highest = np.sort(np.concatenate(scores)[:shuffles])
    chance = highest[-int(rate * (shuffles + 1))] * (1 + ROUNDING)
    return max(limits.min_shift, float(np.nextafter(chance, np.inf)))


def render(comparison: Comparison, current: Profile, reference: Profile | None) -> str:
    """Draw the report: one HTML page that needs nothing else."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    judged = {feature.name: feature for feature in comparison.features}
    sides = [_lay_out(side) for side in (current, reference) if side]
    shown = [name for name in FEATURES if name in judged or len(_known(sides[0], name))]
    return pages.get_template("drift.html.j2").render(
        comparison=comparison,
        current=current,
        reference=reference,
        judged=judged,
        charts=[_draw(name, judged.get(name), sides) for name in shown],
        meaning=FEATURES,
    )


def _compare_features(
    current: pd.DataFrame, reference: pd.DataFrame, limits: config.Drift
) -> list[Feature]:
    """Judge each feature that enough sequences on both sides have a value of."""
    now = {name: _known(current, name) for name in FEATURES}
    then = {name: _known(reference, name) for name in FEATURES}
    fewest = {name: min(len(now[name]), len(then[name])) for name in FEATURES}
    enough = [name for name in FEATURES if fewest[name] >= limits.min_sequences]
    thresholds = {name: calibrate(then[name], now[name], limits) for name in enough}
    scores = _score(current, reference, thresholds)
    return [
        scores[name]
        if name in scores
        else Feature(name, None, None, False, _tell_lack(name, fewest[name]))
        for name in FEATURES
    ]


def _tell_lack(name: str, count: int) -> str:
    if name == "embedding" and not count:
        return "there is no network that saw crops of both"
    return f"only {count} {'crops' if name == 'embedding' else 'sequences'} have a value"


def _lay_out(profile: Profile) -> pd.DataFrame:
    """All features as columns, those of the crops beside those of the sequences."""
    seen = pd.DataFrame(profile.embedding, columns=COLUMNS["embedding"])
    return pd.concat([profile.features.reset_index(drop=True), seen], axis=1)


def _known(table: pd.DataFrame, name: str) -> pd.DataFrame:
    return table[COLUMNS[name]].replace([np.inf, -np.inf], np.nan).dropna()


def _score(
    current: pd.DataFrame, reference: pd.DataFrame, thresholds: dict[str, float]
) -> dict[str, Feature]:
    """Let Evidently score and judge each column; a feature has moved when one of its columns has."""
    os.environ.setdefault("DO_NOT_TRACK", "true")
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    limits = {column: (name, at) for name, at in thresholds.items() for column in COLUMNS[name]}
    numbers = [column for column in limits if column != "class"]
    kinds = DataDefinition(
        numerical_columns=numbers, categorical_columns=[n for n in limits if n not in numbers]
    )
    drifts = [
        ValueDrift(column=column, method=METHODS[name], threshold=at)
        for column, (name, at) in limits.items()
    ]
    used = list(limits)
    sides = [Dataset.from_pandas(t[used], data_definition=kinds) for t in (current, reference)]
    snapshot = Report(drifts, include_tests=True).run(*sides).dict()
    failed = {
        test["metric_config"]["params"]["column"]
        for test in snapshot["tests"]
        if test["status"].value == "FAIL"
    }
    values = {metric["config"]["column"]: float(metric["value"]) for metric in snapshot["metrics"]}
    furthest = {name: max(COLUMNS[name], key=values.__getitem__) for name in thresholds}
    return {
        name: Feature(name, values[column], thresholds[name], column in failed, "", column)
        for name, column in furthest.items()
    }


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


def _draw(name: str, judged: Feature | None, tables: list[pd.DataFrame]) -> dict[str, Any]:
    """Shares of the sequences in bins that both sides have in common, for the page's bars."""
    column = judged.column if judged and judged.column else COLUMNS[name][0]
    sides = [_known(table, name)[column] for table in tables]
    pool = pd.concat(sides, ignore_index=True)
    if name == "class":
        labels = pool.value_counts().sort_index().nlargest(BINS, keep="first").index
        counts = [side.value_counts().reindex(labels, fill_value=0).to_numpy() for side in sides]
        ends = [str(labels[0]), str(labels[-1])] if len(labels) else ["", ""]
    else:
        edges = np.histogram_bin_edges(pool, BINS)
        counts = [np.histogram(side, edges)[0] for side in sides]
        ends = [f"{edge:.3g}" for edge in (edges[0], edges[-1])] if len(pool) else ["", ""]
    shares = [count / max(count.sum(), 1) for count in counts]
    tallest = max(share.max(initial=0) for share in shares) or 1
    return {"name": name, "ends": ends, "bars": [(share / tallest).tolist() for share in shares]}
