"""Drift: silence on data of the same kind, an alarm on a real shift, a third answer when too few."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trackline import drift
from trackline.config import Drift
from trackline.data.profile import DIRECTIONS, FEATURES, MEASURED, Profile
from trackline.drift import calibrate, compare

LIMITS = Drift()


def invent(count: int, seed: int) -> Profile:
    """A profile of sequences that all come from one world."""
    rng = np.random.default_rng(seed)
    features = pd.DataFrame({name: rng.normal(5, 1, count) for name in MEASURED})
    features["length"] = rng.integers(5, 50, count).astype("float64")
    features["absence"] = rng.choice([0.0, 0.1], count, p=[0.95, 0.05])
    features["class"] = rng.choice(["bird", "boat", "car", "fish"], count)
    seen = rng.normal(0, 3, (count, DIRECTIONS))
    return Profile("train", count, 20 * count, features, seen)


def halve(profile: Profile, seed: int) -> list[Profile]:
    order = np.random.default_rng(seed).permutation(len(profile.features))
    return [
        replace(profile, features=profile.features.iloc[part], embedding=profile.embedding[part])
        for part in np.array_split(order, 2)
    ]


def change(profile: Profile, **values: Any) -> Profile:
    return replace(profile, features=profile.features.assign(**values))


def moved(comparison: drift.Comparison) -> list[str]:
    return [feature.name for feature in comparison.features if feature.moved]


@pytest.mark.parametrize("seed", range(4))
def test_random_halves_of_the_same_data_raise_no_alarm(seed: int) -> None:
    now, then = halve(invent(160, seed), seed)
    assert compare(now, then, LIMITS).verdict == "none"


def test_larger_boxes_and_darker_blurred_images_are_drift() -> None:
    now, then = invent(80, 1), invent(160, 2)
    f = now.features
    shifted = change(
        now,
        log_area=f["log_area"] + np.log(1.6**2),
        brightness=f["brightness"] - 1,
        log_sharpness=f["log_sharpness"] - 1,
    )
    comparison = compare(shifted, then, LIMITS)
    assert comparison.verdict == "drift"
    assert moved(comparison) == ["log_area", "brightness", "log_sharpness"]


def test_one_moved_feature_is_a_warning() -> None:
    now = invent(80, 1)
    comparison = compare(change(now, **{"class": "bird"}), invent(80, 2), LIMITS)
    assert comparison.verdict == "warn"
    assert moved(comparison) == ["class"]


def test_a_shift_too_small_to_matter_is_none_however_certain() -> None:
    then = invent(160, 1)
    now = change(then, motion=then.features["motion"] + 0.7)
    assert compare(now, then, LIMITS).verdict == "warn"
    assert compare(now, then, replace(LIMITS, min_shift=0.8)).verdict == "none"


@pytest.mark.parametrize(("now", "then"), [(29, 100), (100, 29)])
def test_too_few_sequences_are_a_verdict_of_their_own(now: int, then: int) -> None:
    comparison = compare(invent(now, 0), invent(then, 1), LIMITS)
    assert (comparison.verdict, comparison.features) == ("too few sequences", ())


def test_without_a_reference_nothing_is_compared() -> None:
    assert compare(invent(40, 0), None, LIMITS).verdict == "no reference"


def test_values_that_are_missing_are_left_out_and_an_empty_feature_is_not_compared() -> None:
    now, then = invent(80, 1), invent(80, 2)
    gappy = now.features["motion"].where(np.arange(80) % 10 > 0)
    comparison = compare(change(now, contrast=np.nan, motion=gappy), then, LIMITS)
    by_name = {feature.name: feature for feature in comparison.features}
    assert by_name["contrast"].score is None
    assert by_name["contrast"].why == "only 0 sequences have a value"
    assert by_name["motion"].score is not None
    assert comparison.verdict == "none"


def test_calibration_measures_what_evidently_scores() -> None:
    now, then = invent(60, 1), invent(90, 2)
    scores = {feature.name: feature.score for feature in compare(now, then, LIMITS).features}
    belongs = np.arange(150)[None] < 90
    area = [side.features["log_area"] for side in (then, now)]
    label = [side.features["class"] for side in (then, now)]
    measured = drift._shift(pd.concat(area, ignore_index=True), area[0])(belongs)
    assert measured == pytest.approx([scores["log_area"]])
    measured = drift._class_distance(pd.concat(label, ignore_index=True))(belongs)
    assert measured == pytest.approx([scores["class"]])


@pytest.mark.parametrize("columns", [["motion"], drift.COLUMNS["embedding"]])
def test_chance_passes_the_threshold_as_rarely_as_promised(columns: list[str]) -> None:
    limits = Drift(false_alarm_rate=0.5, min_shift=0)  # 1 in 24 for each feature
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(100):
        then, now = (
            pd.DataFrame(rng.normal(size=(n, len(columns))), columns=columns) for n in (60, 40)
        )
        pool, belongs = pd.concat([then, now], ignore_index=True), np.arange(100)[None] < 60
        scores = [drift._shift(pool[name], then[name])(belongs).item() for name in columns]
        alarms += max(scores) >= calibrate(then, now, limits)
    assert 1 <= alarms <= 11  # 4 expected


def test_smaller_samples_get_wider_thresholds() -> None:
    few, many = (
        calibrate(invent(n, 0).features[["motion"]], invent(n, 1).features[["motion"]], LIMITS)
        for n in (40, 400)
    )
    assert few > 2 * many


def test_the_furthest_that_chance_can_reach_is_no_alarm() -> None:
    then = change(invent(40, 1), absence=0.0)
    now = change(invent(40, 2), absence=[0.1] * 3 + [0.0] * 37)  # all three on this side: 1 in 8
    by_name = {feature.name: feature for feature in compare(now, then, LIMITS).features}
    assert by_name["absence"].score == pytest.approx(by_name["absence"].threshold, rel=1e-4)
    assert not by_name["absence"].moved


def test_a_shift_in_one_direction_of_the_embedding_is_one_moved_feature() -> None:
    now, then = invent(80, 1), invent(80, 2)
    turned = replace(now, embedding=now.embedding + 4 * np.eye(DIRECTIONS)[5])
    comparison = compare(turned, then, LIMITS)
    assert (comparison.verdict, moved(comparison)) == ("warn", ["embedding"])
    assert comparison.features[-1].column == "embedding 6"
    assert comparison.tell(turned, then)["crops"] == 80
    page = drift.render(comparison, turned, then)
    assert "saw a crop each of 80 of" in " ".join(page.split())


def test_fewer_sequences_than_crops_are_compared_as_they_are() -> None:
    now, then = (replace(p, features=p.features.head(40)) for p in (invent(80, 1), invent(80, 2)))
    comparison = compare(now, then, LIMITS)
    assert comparison.verdict == "none"
    assert all(feature.score is not None for feature in comparison.features)


def test_without_crops_on_both_sides_the_embedding_is_not_compared() -> None:
    blind = replace(invent(80, 1), embedding=np.zeros((0, DIRECTIONS)))
    comparison = compare(blind, invent(80, 2), LIMITS)
    assert (comparison.verdict, comparison.features[-1].score) == ("none", None)
    assert "there is no network that saw crops of both" in drift.render(
        comparison, blind, invent(80, 2)
    )


def test_the_page_stands_alone_and_trusts_no_text() -> None:
    evil = "<script>alert(1)</script>"
    now = change(invent(40, 0), **{"class": evil})
    page = drift.render(drift.Comparison("no reference", ()), now, None)
    assert evil not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page
    assert page.count("<svg") == len(FEATURES)


def test_the_page_shows_both_sides_scores_and_thresholds() -> None:
    feature = drift.Feature("motion", 0.5, 0.25, True, "")
    comparison = drift.Comparison("warn", (feature,))
    page = drift.render(comparison, invent(40, 0), change(invent(40, 1), contrast=np.nan))
    assert "score 0.500, threshold 0.250" in page
    assert 'class="then"' in page
