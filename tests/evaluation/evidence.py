"""What tests of the gates share: the evidence that a good model would leave, and changes to it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from trackline.config import Gate
from trackline.evaluation import metrics
from trackline.evaluation.gates import Evidence

THRESHOLDS = Gate()
CLASSES = ("box", "disc")


def predict(shift: float = 0.0, wrong: int = 0, sequences: int = 30, seed: int = 0) -> pd.DataFrame:
    """Predictions with a mean overlap near 0.8 + shift, `wrong` sequences of them misnamed."""
    random = np.random.default_rng(seed)
    table = pd.DataFrame(
        [(f"seq-{s:02}", f) for s in range(sequences) for f in range(6)],
        columns=["sequence", "frame"],
    )
    number = table["sequence"].str[4:].astype(int)
    level = 0.8 + shift + np.repeat(random.normal(0, 0.05, sequences), 6)
    table["iou"] = np.where(table["frame"] == 0, np.nan, np.clip(level, 0, 1))
    table["label"] = np.where(number % 2, "box", "disc")
    other = np.where(number % 2, "disc", "box")
    table["class"] = np.where(number < wrong, other, table["label"])
    for name in CLASSES:
        table[f"p_{name}"] = np.where(table["class"] == name, 0.9, 0.1)
    return table


def weigh(predictions: pd.DataFrame | None = None, **changes: Any) -> Evidence:
    """Evidence of a good model, as the steps before the gate would leave it, with changes."""
    table = predict() if predictions is None else predictions
    scored = table[table["iou"].notna()]
    right = (scored["class"] == scored["label"]) if "class" in scored else np.array([np.nan])
    metrics = {
        "ao": scored["iou"].mean(),
        "accuracy": right.mean(),
        "sequence_accuracy": right.mean(),
        "ao_static": 0.3,
        "ao_wrong_template": 0.4,
        "variant": "multitask",
        "weights_sha256": "a1",
        "evaluation_data_sha256": "d1",
    }
    metrics |= changes.pop("metrics", {})
    evidence = Evidence(metrics, table, {"passed": True}, {"verdict": "none"}, "a1")
    return dataclasses.replace(evidence, **changes)


def check(judged: dict[str, Any], name: str) -> dict[str, Any]:
    """The line of a verdict about one gate."""
    return next(line for line in judged["checks"] if line["name"] == name)


def annotate(sequences: int = 30, small: int = 10) -> pd.DataFrame:
    """The truth behind `predict`: the first `small` targets are small ones."""
    table = predict(sequences=sequences)[["sequence", "frame", "label"]]
    number = table["sequence"].str[4:].astype(int)
    side = np.where(number < small, 20.0, 40.0)
    return table.rename(columns={"label": "class"}).assign(
        x=10.0, y=10.0, w=side, h=side, width=160, height=120, visible=True, cover=1.0
    )


def box(predictions: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """Give predictions boxes that overlap as much as they say."""
    level = predictions["iou"].fillna(1.0).to_numpy()
    guess = predictions.assign(
        x=10.0, y=10.0, w=truth["w"].to_numpy() * level, h=truth["h"].to_numpy()
    )
    return metrics.match(truth, guess)
