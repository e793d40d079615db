"""Variants side by side: intervals over seeds and sequences, and what a test can tell."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from trackline.evaluation.statistics import Interval
from trackline.evaluation.variants import (
    Contender,
    Cost,
    Difference,
    bootstrap_crossed,
    compose,
    find_differences,
    tabulate_seeds,
    write_markdown,
)

COST = Cost(1000, 0.004, 20.0, 300.0, 32)
BUDGET = {
    "epochs": 2, "samples_per_epoch": 16, "seeds": [0, 1, 2], "sequences": 40, "hardware": "a laptop",
    "pools": {"multitask": "box"},
}  # fmt: skip


def make_contender(name: str, ao: float, classes: bool = True, spread: float = 0.05) -> Contender:
    rng = np.random.default_rng(len(name))
    values = {"ao": ao + spread * rng.standard_normal((3, 40))}
    if classes:
        values["right"] = (rng.random((3, 40)) < 0.7).astype(float)
    return Contender(name, COST, values, np.full(40, 20))


def test_the_interval_covers_the_truth_as_often_as_it_says_or_more() -> None:
    """Effects of seed and of sequence, and noise; the true mean is 0."""
    rng, hits = np.random.default_rng(0), 0
    for _ in range(200):
        values = (
            0.05 * rng.standard_normal((6, 1))
            + 0.1 * rng.standard_normal((1, 30))
            + 0.05 * rng.standard_normal((6, 30))
        )
        found, _ = bootstrap_crossed(values, resamples=300, seed=1)
        hits += found.low <= 0 <= found.high
    assert hits >= 0.9 * 200


def test_seeds_that_differ_widen_the_interval() -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal((3, 40))
    alike, unlike = (bootstrap_crossed(noise + s)[0] for s in (0.0, np.array([[-0.2], [0], [0.2]])))
    assert unlike.high - unlike.low > 2 * (alike.high - alike.low)


def test_the_mean_is_pooled_over_frames() -> None:
    found, _ = bootstrap_crossed(np.array([[1.0, 0.0]]), np.array([30, 10]))
    assert found.value == 0.75


def test_one_seed_is_an_interval_over_sequences() -> None:
    values = np.random.default_rng(0).random((1, 50))
    found, error = bootstrap_crossed(values)
    assert error == pytest.approx(values.std() / 50**0.5, rel=0.1)
    assert found.low < values.mean() < found.high


def test_differences_are_paired_and_say_what_the_test_can_tell() -> None:
    """Two variants that differ by 0.05 everywhere are told apart, however unlike the sequences."""
    base = make_contender("multitask", 0.5, spread=0.3)
    worse = Contender("fusion", COST, {**base.values, "ao": base.values["ao"] - 0.05}, base.frames)
    ao, right = find_differences([base, worse], resamples=500)
    assert ao.interval.value == pytest.approx(0.05)
    assert ao.tell().endswith("multitask is better.")
    assert right.interval == Interval(0, 0, 0)


def test_what_is_not_told_apart_names_the_difference_that_would_be() -> None:
    found = Difference("a", "b", "ao", Interval(0.01, -0.02, 0.04), 0.043)
    assert found.tell() == (
        "a − b in AO: +0.010 [-0.020, +0.040]: not told apart; "
        "this test reveals a difference of 0.043."
    )
    assert Difference("a", "b", "ao", Interval(-0.1, -0.2, -0.01), 0.1).tell().endswith(
        "b is better."
    )  # fmt: skip


def test_the_table_has_a_dash_where_a_variant_names_no_class() -> None:
    contenders = [make_contender("multitask", 0.5), make_contender("tracking", 0.5, classes=False)]
    record = compose(contenders, BUDGET, resamples=200)
    text = write_markdown(record)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert rows[1].startswith("| multitask | 1,000 | 0.00 | 20.0 | 300 | 32 | 0.")
    assert rows[2].endswith("| – |")
    assert len(record["differences"]) == 1  # AO alone: one of them has no classes
    assert "seeds 0, 1, 2, followed through 40 held-out sequences, on a laptop" in text
    assert "Class pooled over: multitask `box`." in text


def test_predictions_become_a_row_a_seed() -> None:
    index = [(f"s{s}", f) for s in range(3) for f in range(3)]
    table = pd.DataFrame(index, columns=["sequence", "frame"])
    table["iou"] = np.where(table["frame"] == 0, np.nan, 0.5)
    table["label"] = table["class"] = "box"
    table["p_box"], table["p_disc"] = 0.9, 0.1
    values, frames = tabulate_seeds([table, table.assign(iou=table["iou"] * 0.5)])
    assert values["ao"].tolist() == [[0.5] * 3, [0.25] * 3]
    assert values["right"].tolist() == [[1.0] * 3] * 2
    assert frames.tolist() == [2, 2, 2]
