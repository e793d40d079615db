"""Variants of the network side by side: what each costs, what each reaches, what the test can tell.

Every variant is trained with the same seeds and follows the same sequences, so values form a table,
seeds × sequences, and two variants are compared cell by cell. Shapes: s seeds, q sequences.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from trackline.evaluation.comparison import select_scored, tabulate
from trackline.evaluation.statistics import NORMAL, UNKNOWN, Interval

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, Any]
METRICS = {"ao": "AO", "right": "class accuracy"}


@dataclass(frozen=True)
class Cost:
    """What a variant costs; the extras are beyond the plain tracker, of the same sizes."""

    extra_parameters: int
    extra_mb: float
    samples_per_second: float
    peak_memory_mb: float
    code_lines: int


@dataclass(frozen=True)
class Contender:
    """A variant, what it costs, and its values [s, q] by metric; `frames` [q] weigh the AO."""

    name: str
    cost: Cost
    values: dict[str, Array]
    frames: Array

    def weights(self, metric: str) -> Array | None:
        """AO pools frames; a class is right or wrong once a sequence."""
        return self.frames if metric == "ao" else None


@dataclass(frozen=True)
class Difference:
    """First − second in one metric, and the smallest difference that this test would reveal."""

    first: str
    second: str
    metric: str
    interval: Interval
    detectable: float

    def tell(self) -> str:
        """One sentence."""
        found, unit = self.interval, METRICS[self.metric]
        numbers = f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
        pair = f"{self.first} − {self.second} in {unit}: {numbers}"
        if found.low > 0 or found.high < 0:
            return f"{pair}: {self.first if found.low > 0 else self.second} is better."
        return f"{pair}: not told apart; this test reveals a difference of {self.detectable:.3f}."


def tabulate_seeds(predictions: Sequence[pd.DataFrame]) -> tuple[dict[str, Array], Array]:
    """Values [s, q] by metric, and frames [q], of one variant's predictions, a table a seed."""
    tables = [tabulate(select_scored(p)).sort_values("sequence") for p in predictions]
    names = [m for m in METRICS if all(m in t for t in tables)]
    values = {m: np.stack([t[m].to_numpy(np.float64) for t in tables]) for m in names}
    return values, tables[0]["frames"].to_numpy()


def bootstrap_crossed(
    values_sq: Array, weights_q: Array | None = None, *, resamples: int = 2000, seed: int = 0
) -> tuple[Interval, float]:
    """95 % interval of the (weighted) mean over seeds and sequences, and its standard error.

    Whole seeds and whole sequences are drawn anew, independently (Owen, The pigeonhole bootstrap,
    Annals of Applied Statistics 2007): it errs on the wide side. With one seed the interval is that
    seed's, over sequences alone.
    """
    seeds, sequences = values_sq.shape
    weights = np.ones(sequences) if weights_q is None else np.asarray(weights_q, np.float64)
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, seeds, (resamples, seeds))
    columns = rng.integers(0, sequences, (resamples, sequences))
    counts = np.stack([np.bincount(r, minlength=seeds) for r in rows])
    picked = np.stack([np.bincount(c, minlength=sequences) for c in columns]) * weights
    means = np.einsum("rs,sq,rq->r", counts, values_sq, picked) / (seeds * picked.sum(1))
    value = float(np.average(values_sq.mean(0), weights=weights))
    low, high = np.quantile(means, (0.025, 0.975))
    return Interval(value, float(low), float(high)), float(means.std(ddof=1))


def summarise(contender: Contender, metric: str, resamples: int) -> Interval:
    """A variant's metric with its interval; unknown where it has none (a plain tracker's classes)."""
    if metric not in contender.values:
        return UNKNOWN
    values = contender.values[metric]
    return bootstrap_crossed(values, contender.weights(metric), resamples=resamples)[0]


def find_differences(contenders: Sequence[Contender], resamples: int) -> list[Difference]:
    """Every pair in every metric that both have."""
    found = []
    for metric in METRICS:
        able = [c for c in contenders if metric in c.values]
        for a, b in combinations(able, 2):
            interval, error = bootstrap_crossed(
                a.values[metric] - b.values[metric], a.weights(metric), resamples=resamples
            )
            reach = (NORMAL.inv_cdf(0.975) + NORMAL.inv_cdf(0.8)) * error
            found.append(Difference(a.name, b.name, metric, interval, reach))
    return found


def compose(
    contenders: Sequence[Contender], budget: dict[str, Any], resamples: int
) -> dict[str, Any]:
    """The whole comparison as a record for JSON."""
    rows = [
        {
            "variant": c.name,
            **asdict(c.cost),
            **{m: asdict(summarise(c, m, resamples)) for m in METRICS},
        }
        for c in contenders
    ]
    differences = [{**asdict(d), "says": d.tell()} for d in find_differences(contenders, resamples)]
    return {"budget": budget, "variants": rows, "differences": differences}


def write_markdown(record: dict[str, Any]) -> str:
    """The comparison as a table and sentences."""
    budget = record["budget"]
    lines = [
        "| variant | extra parameters | extra MB | samples/s in training | peak memory, MB "
        "| lines of code | AO | class accuracy |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in record["variants"]:
        cells = (
            row["variant"],
            f"{row['extra_parameters']:,}",
            f"{row['extra_mb']:.2f}",
            f"{row['samples_per_second']:.1f}",
            f"{row['peak_memory_mb']:.0f}",
            f"{row['code_lines']}",
            *(_format(row[m]) for m in METRICS),
        )
        lines.append(f"| {' | '.join(cells)} |")
    seeds = ", ".join(map(str, budget["seeds"]))
    pools = ", ".join(f"{variant} `{pool}`" for variant, pool in budget["pools"].items())
    lines += [
        "",
        f"Each variant: {budget['epochs']} epochs of {budget['samples_per_epoch']} samples, seeds "
        f"{seeds}, followed through {budget['sequences']} held-out sequences, on "
        f"{budget['hardware']}. Samples/s: steps of the last epoch, taken in turns. "
        "Extras and lines of code are those beyond the plain tracker. "
        "Intervals: 95 %, over seeds and sequences"
        + ("." if len(budget["seeds"]) > 1 else ", with one seed over sequences alone.")
        + (f" Class pooled over: {pools}." if pools else ""),
        "",
        *(f"- {difference['says']}" for difference in record["differences"]),
    ]
    return "\n".join(lines) + "\n"


def _format(interval: dict[str, float]) -> str:
    if math.isnan(interval["value"]):
        return "–"
    return f"{interval['value']:.3f} [{interval['low']:.3f}, {interval['high']:.3f}]"
