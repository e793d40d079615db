"""Drift: silence on data of the same kind, an alarm on a real shift, a third answer when too few."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trackline import drift
from trackline.config import Drift
from trackline.data.profile import FEATURES, Profile
from trackline.drift import calibrate, compare

LIMITS = Drift()


def invent(count: int, seed: int) -> Profile:
    """A profile of sequences that all come from one world."""
    rng = np.random.default_rng(seed)
    features = pd.DataFrame({name: rng.normal(5, 1, count) for name in FEATURES})
    features["length"] = rng.integers(5, 50, count).astype("float64")
    features["absence"] = rng.choice([0.0, 0.1], count, p=[0.95, 0.05])
    features["class"] = rng.choice(["bird", "boat", "car", "fish"], count)
    return Profile("train", count, 20 * count, features)


def halve(profile: Profile, seed: int) -> tuple[Profile, Profile]:
    order = np.random.default_rng(seed).permutation(len(profile.features))
    first, second = (profile.features.iloc[part] for part in np.array_split(order, 2))
    return replace(profile, features=first), replace(profile, features=second)


def change(profile: Profile, **values: Any) -> Profile:
    return replace(profile, features=profile.features.assign(**values))


def moved(comparison: drift.Comparison) -> list[str]:
    return [feature.name for feature in comparison.features if feature.moved]


@pytest.mark.parametrize("seed", range(4))
def test_random_halves_of_the_same_data_raise_no_alarm(seed: int) -> None:
    assert compare(*halve(invent(160, seed), seed), LIMITS).verdict == "none"


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


def test_chance_passes_the_threshold_as_rarely_as_promised() -> None:
    limits = Drift(false_alarm_rate=0.5, min_shift=0)  # 1 in 22 for each feature
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(200):
        then, now = (pd.Series(rng.normal(size=n), name="motion") for n in (60, 40))
        score = drift._shift(pd.concat([then, now], ignore_index=True), then)
        alarms += score(np.arange(100)[None] < 60).item() >= calibrate(then, now, limits)
    assert 1 <= alarms <= 20  # 9 expected


def test_smaller_samples_get_wider_thresholds() -> None:
    few, many = (
        calibrate(invent(n, 0).features["motion"], invent(n, 1).features["motion"], LIMITS)
        for n in (40, 400)
    )
    assert few > 2 * many


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
