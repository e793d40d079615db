"""Every metric that is a mean has an interval around its own value, and a gain has a paired one."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest

from trackline.evaluation import intervals, metrics
from trackline.evaluation.report import Inputs
from trackline.evaluation.statistics import bootstrap_mean, find_detectable_difference

bootstrap = partial(bootstrap_mean, resamples=300)


@pytest.fixture(scope="module")
def matched(report_inputs: Inputs) -> pd.DataFrame:
    return report_inputs.matched


@pytest.mark.parametrize("name", list(intervals.PER_FRAME))
def test_an_interval_is_around_the_metric_itself(
    matched: pd.DataFrame, report_inputs: Inputs, name: str
) -> None:
    found = intervals.find_interval(metrics.select_scored(matched), name, bootstrap)
    measured = metrics.summarise(matched, report_inputs.classes)[name]
    assert found.value == pytest.approx(measured, abs=1e-9)
    assert found.low <= found.value <= found.high
    assert found.low < found.high or found.value in (0, 1)


def test_the_ends_stand_beside_the_metrics(matched: pd.DataFrame) -> None:
    ends = intervals.find_intervals(matched, bootstrap)
    assert {"ao_low", "ao_high", "sequence_accuracy_low", "joint_accuracy_high"} <= ends.keys()
    assert not any(np.isnan(end) for end in ends.values())


def test_a_plain_tracker_has_no_interval_of_classes(matched: pd.DataFrame) -> None:
    bare = matched.drop(columns=[c for c in matched if str(c).startswith("p_")])
    ends = intervals.find_intervals(bare.assign(**{"class": None}), bootstrap)
    assert "ao_low" in ends
    assert not any("accuracy" in name for name in ends)


def test_a_gain_is_paired(matched: pd.DataFrame) -> None:
    """What is hard for both cancels out: a constant gain is sure, whatever the overlaps are."""
    scored = metrics.select_scored(matched)
    found = intervals.find_gain_interval(
        scored.assign(iou_static=scored["iou"] - 0.1), "static", bootstrap
    )
    assert found.low == pytest.approx(0.1)
    assert found.high == pytest.approx(0.1)
    assert np.isnan(intervals.find_gain_interval(scored, "csrt", bootstrap).low)


def test_seeds_make_small_differences_harder_to_see() -> None:
    pairs = np.array([1.0, -1.0, 1.0, -1.0])  # standard error √(1/3)
    known = find_detectable_difference(pairs)
    assert find_detectable_difference(pairs, seed_sd=0.0) == known
    assert find_detectable_difference(pairs, seed_sd=1.0) == pytest.approx(
        known * np.sqrt(1 / 3 + 2) / np.sqrt(1 / 3)
    )
