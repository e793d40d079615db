"""Kinds of sequences, each scored by itself: what an average over everything hides.

A sequence belongs to one slice of each kind. Every further column of the annotation table is a kind
too, a number by its thirds. Kinds with a single slice tell nothing and are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from trackline.data.table import BOX, COLUMNS
from trackline.evaluation import metrics
from trackline.evaluation.statistics import UNKNOWN, Interval, bootstrap_mean

Array = np.ndarray[Any, Any]
Bootstrap = Callable[..., Interval]

SIZES_PX = {"small": 0.0, "medium": 32.0, "large": 96.0}  # of √(w·h), COCO's bounds
SPEEDS = {
    "slow": 0.0,
    "medium": 0.05,
    "fast": 0.2,
}  # centre shift a frame over √(w·h); LaSOT's is 0.2
LENGTHS = {"short": 0.0, "medium": 100.0, "long": 1000.0}  # frames
COVERS = {"heavy": 0.0, "partial": 0.5, "none": 1.0}  # the smallest visible share
MOST_VALUES = 50  # a text column with more says something else of every sequence
ORDER = [
    "small", "slow", "short", "low", "none", "medium", "middle", "partial",
    "large", "fast", "long", "high", "heavy", "unknown",
]  # fmt: skip
TABLE = ["kind", "slice", "sequences", "frames", "ao", "low", "high", "accuracy", "note"]


def describe(truth: pd.DataFrame) -> pd.DataFrame:
    """One row a sequence: the slice of each kind that it belongs to; the index is its name."""
    rows = truth.sort_values(["sequence", "frame"])
    groups = rows.groupby("sequence", sort=True)
    table = pd.DataFrame({"class": groups["class"].first()})
    table["size"] = _bin(groups[["w", "h"]].median().prod(axis=1) ** 0.5, SIZES_PX)
    table["speed"] = _bin(_measure_speed(rows), SPEEDS)
    cover = rows["cover"].where(rows["visible"], 0.0)
    table["occlusion"] = _bin(cover.groupby(rows["sequence"]).min(), COVERS, "unknown")
    table["length"] = _bin(groups.size().astype(float), LENGTHS)
    for name in [str(n) for n in truth.columns if n not in COLUMNS]:
        if (kind := _read_column(groups[name].first())) is not None:
            table[name] = kind
    return table[[name for name in table if table[name].nunique() > 1]]


def summarise(
    matched: pd.DataFrame,
    truth: pd.DataFrame,
    *,
    min_sequences: int = 5,
    bootstrap: Bootstrap = bootstrap_mean,
) -> pd.DataFrame:
    """One row a slice: kind, slice, sequences, frames, ao with its interval, accuracy and a note.

    `accuracy` is the share of sequences named rightly. A slice of fewer than `min_sequences` has no
    interval, and its note says so.
    """
    classes = [str(name).removeprefix("p_") for name in matched if str(name).startswith("p_")]
    scores = metrics.summarise_sequences(matched, classes).set_index("sequence")
    kinds = describe(truth).reindex(scores.index)
    rows = [
        _score(str(kind), value, scores[kinds[kind] == value], min_sequences, bootstrap)
        for kind in kinds
        for value in _order(kinds[kind])
    ]
    return pd.DataFrame(rows, columns=TABLE)


def _score(
    kind: str, value: str, scores: pd.DataFrame, least: int, bootstrap: Bootstrap
) -> dict[str, Any]:
    overlaps, frames = scores["mean_iou"].to_numpy(), scores["frames"].to_numpy()
    few = len(scores) < least
    interval = UNKNOWN if few else bootstrap(overlaps, frames)
    named = "predicted" in scores
    return {
        "kind": kind,
        "slice": value,
        "sequences": len(scores),
        "frames": int(frames.sum()),
        "ao": float(np.average(overlaps, weights=frames)),
        "low": interval.low,
        "high": interval.high,
        "accuracy": float((scores["predicted"] == scores["label"]).mean()) if named else math.nan,
        "note": "too few to tell" if few else "",
    }


def _measure_speed(rows: pd.DataFrame) -> pd.Series[Any]:
    """Median shift of the centre from frame to frame, in target sizes."""
    box = rows[BOX].where(rows["visible"])
    centre = box[["x", "y"]].to_numpy() + box[["w", "h"]].to_numpy() / 2
    shift = np.hypot(*np.diff(centre, axis=0, prepend=np.nan).T)
    same = (rows["sequence"] == rows["sequence"].shift()).to_numpy()
    sides = np.sqrt((box["w"] * box["h"]).to_numpy())
    speed = pd.Series(np.where(same, shift, np.nan) / sides, index=rows.index)
    medians: pd.Series[Any] = speed.groupby(rows["sequence"]).median()
    return medians


def _bin(values: pd.Series[Any], bounds: dict[str, float], unknown: str = "") -> pd.Series[Any]:
    """The name of the last bound that each value reaches."""
    names, lows = list(bounds), np.array(list(bounds.values()))
    places = np.searchsorted(lows, values.to_numpy(), side="right") - 1
    named = pd.Series([names[p] for p in places.clip(0)], index=values.index)
    return named.where(values.notna(), unknown or names[0])


def _read_column(values: pd.Series[Any]) -> pd.Series[Any] | None:
    if pd.api.types.is_numeric_dtype(values) and values.nunique() > 3:
        thirds = pd.qcut(values.rank(method="first"), 3, labels=["low", "middle", "high"])
        return thirds.astype(str)
    text = values.astype(str)
    return text if text.nunique() <= MOST_VALUES else None


def _order(values: pd.Series[Any]) -> list[str]:
    """The slices of a kind, those with a natural order in it."""
    present = sorted(values.dropna().unique())
    return sorted(present, key=lambda v: ORDER.index(v) if v in ORDER else len(ORDER))
