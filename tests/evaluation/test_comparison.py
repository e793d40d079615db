"""A candidate beside the champion: on the same frames, in all and in slices, and where its boxes lie."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest

from tests.evaluation.evidence import THRESHOLDS, annotate, box, check, predict, weigh
from trackline.config import Gate
from trackline.evaluation.comparison import Champion
from trackline.evaluation.gates import judge


@pytest.mark.parametrize(
    ("candidate", "phrase", "passed"),
    [
        (predict(shift=0.05), "better", True),
        (predict(), "no measurable change", True),
        (predict(shift=-0.01), "worse by less than the margin", True),
        (predict(shift=-0.1), "significantly worse", False),
        (predict(shift=-0.02, seed=1), "worse within noise", False),
    ],
)
def test_the_champion_is_met_on_the_same_sequences(
    candidate: pd.DataFrame, phrase: str, passed: bool
) -> None:
    judged = judge(weigh(candidate, champion=Champion(3, predict())), THRESHOLDS)
    line = check(judged, "champion_ao")
    assert judged["comparison"] == phrase
    assert line["passed"] is passed
    assert f"champion 3 by {line['value']:+.3f}" in line["why"]
    assert line["threshold"] == -THRESHOLDS.champion_margin_ao


def test_an_undecided_comparison_says_what_would_decide_it() -> None:
    judged = judge(weigh(predict(shift=-0.02, seed=1), champion=Champion(3, predict())), THRESHOLDS)
    resolution = judged["smallest_detectable_difference"]
    assert resolution > THRESHOLDS.champion_margin_ao
    assert (
        f"30 sequences reveal no difference below {resolution:.3f}"
        in (check(judged, "champion_ao")["why"])
    )


def test_seeds_of_training_widen_the_comparison() -> None:
    champion = Champion(3, predict())
    sure = judge(weigh(predict(shift=-0.1), champion=champion), THRESHOLDS)
    doubtful = judge(weigh(predict(shift=-0.1), champion=champion), Gate(seed_sd_ao=0.08))
    assert sure["comparison"] == "significantly worse"
    assert doubtful["comparison"] == "worse within noise"


def test_losing_classes_to_the_champion_fails() -> None:
    judged = judge(weigh(predict(wrong=9), champion=Champion(3, predict())), THRESHOLDS)
    line = check(judged, "champion_accuracy")
    assert line["value"] == pytest.approx(-0.3)
    assert not line["passed"]
    assert "significantly worse" in line["why"]


def test_classes_are_compared_frame_by_frame_within_sequences() -> None:
    candidate = predict()
    candidate.loc[candidate["frame"] == 5, "class"] = "neither"  # one of five scored frames
    judged = judge(
        weigh(
            candidate,
            metrics={"accuracy": 0.8, "sequence_accuracy": 1.0},
            champion=Champion(3, predict()),
        ),
        THRESHOLDS,
    )
    assert check(judged, "champion_accuracy")["value"] == pytest.approx(-0.2)
    assert check(judged, "sequence_accuracy")["passed"]


def test_a_slice_that_lost_against_the_champion_fails_though_the_mean_did_not() -> None:
    truth, worse = annotate(small=8), predict(shift=0.03)
    worse.loc[worse["sequence"] < "seq-08", "iou"] -= 0.15
    champion = Champion(3, box(predict(), truth))
    judged = judge(weigh(box(worse, truth), truth=truth, champion=champion), THRESHOLDS)
    line = check(judged, "slices_champion")
    assert not line["passed"]
    assert "champion_margin_ao = 0.05 against champion 3: size small -0.12" in line["why"]
    same = judge(weigh(box(predict(), truth), truth=truth, champion=champion), THRESHOLDS)
    assert check(same, "slices_champion")["passed"]


def test_a_slice_that_may_have_lost_shows_that_its_interval_reaches_what_is_needed() -> None:
    truth, noisy = annotate(small=8), predict()
    lost = {f"seq-{i:02d}": 0.5 * (i % 2) for i in range(8)}
    noisy["iou"] -= noisy["sequence"].map(lost).fillna(0.0)
    champion = Champion(3, box(predict(), truth))
    judged = judge(weigh(box(noisy, truth), truth=truth, champion=champion), THRESHOLDS)
    line = check(judged, "slices_champion")
    assert line["passed"]
    assert line["value"] < line["threshold"] < line["high"]
    assert "size small fares worst, -0.2" in line["why"]


def place(table: pd.DataFrame, seed: int, shift_px: float = 0.0) -> pd.DataFrame:
    """Boxes as two trainings place them: each sequence off by its own 2 px in both, by 0.7 px in one."""
    sequences = table["sequence"].nunique()
    shared, own = np.random.default_rng(9), np.random.default_rng(seed)
    each = shared.normal(0, 2, (sequences, 2)) + own.normal(0, 0.7, (sequences, 2))
    x, y = (np.repeat(each, 6, axis=0) + 50).T
    return table.assign(x=x + shift_px, y=y + shift_px, w=30.0, h=30.0)


PLACED = dataclasses.replace(THRESHOLDS, champion_margin_shift_px=0.5)


@pytest.mark.parametrize("seed", range(1, 21))
def test_boxes_of_another_training_are_not_surely_shifted(seed: int) -> None:
    champion = Champion(3, place(predict(), seed=0))
    judged = judge(weigh(place(predict(), seed), champion=champion), PLACED)
    assert check(judged, "champion_shift")["passed"]


@pytest.mark.parametrize("shift_px", [-1, 1])
@pytest.mark.parametrize("seed", range(1, 6))
def test_an_origin_that_is_off_by_one_shows_beside_the_champion(seed: int, shift_px: float) -> None:
    champion = Champion(3, place(predict(), seed=0))
    judged = judge(weigh(place(predict(), seed, shift_px), champion=champion), PLACED)
    line = check(judged, "champion_shift")
    assert not line["passed"]
    assert line["low"] > line["threshold"] == 0.5
    assert re.search(r"surely more along (x|y|x and y) than gate.champion_margin", line["why"])


def test_frames_that_only_one_follows_tell_nothing_of_a_shift() -> None:
    lost = place(predict(), 1).assign(iou=lambda t: t["iou"].where(t["iou"].isna(), 0.1))
    thresholds = dataclasses.replace(PLACED, min_ao=0.0)
    judged = judge(weigh(lost, champion=Champion(3, place(predict(), 0))), thresholds)
    line = check(judged, "champion_shift")
    assert not line["passed"]
    assert "no frame that both" in line["why"]


@pytest.mark.parametrize(
    "champion",
    [
        Champion(3, predict(sequences=29)),
        Champion(3, predict(sequences=31)),
        Champion(3, predict(), evaluation_data_sha256="d0"),
    ],
)
def test_a_champion_scored_on_other_frames_fails_with_the_remedy(champion: Champion) -> None:
    judged = judge(weigh(champion=champion), THRESHOLDS)
    line = check(judged, "champion_ao")
    assert judged["comparison"] == "not comparable"
    assert not line["passed"]
    assert "--champion-predictions" in line["why"]


def test_the_order_of_rows_does_not_matter() -> None:
    shuffled = predict().sample(frac=1, random_state=1)
    champion = Champion(3, predict(shift=0.02).sample(frac=1, random_state=2))
    assert judge(weigh(shuffled, champion=champion), THRESHOLDS) == judge(
        weigh(champion=Champion(3, predict(shift=0.02))), THRESHOLDS
    )
