"""What the tests of the report share: an evaluation of the miniature world, as if by a middling tracker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trackline.data import footage
from trackline.evaluation import baselines, metrics, slices
from trackline.evaluation.report import Inputs

BOX = ["x", "y", "w", "h"]
MEASURED = {"name": "ao", "value": 0.71, "threshold": 0.5, "low": 0.65, "high": 0.77}
CHECKS: list[dict[str, Any]] = [
    {**MEASURED, "passed": True, "why": "0.710 reaches the 0.5 of gate.min_ao"},
    {"name": "data_validated", "value": None, "threshold": None, "low": None, "high": None,
     "passed": True, "why": "the annotations passed validation"},
]  # fmt: skip


def perturb(truth: pd.DataFrame, classes: tuple[str, ...], seed: int) -> pd.DataFrame:
    """Predictions as a middling tracker makes them: boxes that drift, classes mostly right."""
    rng = np.random.default_rng(seed)
    guess = truth[["sequence", "frame", *BOX]].copy()
    reach = rng.uniform(0, 8, truth["sequence"].nunique())[pd.factorize(truth["sequence"])[0]]
    guess["x"] += reach * truth["frame"] / 4
    right = truth["class"].to_numpy()[:, None] == np.array(classes)
    share = np.where(right, 0.5, 0) + rng.dirichlet(np.ones(len(classes)), len(truth)) / 2
    named = np.array(classes)[share.argmax(axis=1)]
    return guess.assign(**{f"p_{name}": share[:, i] for i, name in enumerate(classes)}).assign(
        **{"class": named, "confidence": 0.8}
    )


@pytest.fixture(scope="session")
def report_inputs(world: Path) -> Inputs:
    table = footage.read_all(world)
    truth = table[table["split"] == "test"]
    classes = tuple(sorted(table["class"].unique()))
    matched = metrics.match(truth, perturb(truth, classes, seed=0))
    still = metrics.match(truth, baselines.predict_static(truth))
    matched, static = matched.assign(iou_static=still["iou"]), metrics.curves(still)
    curves = [
        static[name].assign(static_box=static[name][name]) for name in ("success", "precision")
    ]
    epochs = np.arange(1.0, 6)
    curve = {"epoch": epochs, "Loss/total": 5 / epochs, "IoU": 1 - 1 / epochs, "Accuracy": np.nan}
    return Inputs(
        metrics=metrics.summarise(matched, classes) | {"ao_static": 0.26, "ao_csrt": None},
        gate={
            "passed": True,
            "verdict": "accepted",
            "comparison": "no champion",
            "smallest_detectable_difference": 0.04,
            "checks": CHECKS,
            "bound": {"weights_sha256": "f00"},
        },
        matched=matched,
        truth=table,
        root=world,
        training=pd.DataFrame(curve),
        classes=classes,
        slices=slices.summarise(matched, truth, min_sequences=3),
        baselines=tuple(curves),
        lineage={"git": {"revision": "abc123"}, "params": {"train": {"epochs": 5}}},
    )
