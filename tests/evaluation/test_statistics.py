"""Intervals that cover what they promise, and verdicts that follow from them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trackline.evaluation.statistics import (
    NOT_INFERIOR,
    Interval,
    bootstrap_mean,
    correct_for_many,
    find_acceleration,
    find_detectable_difference,
    find_p_of_loss,
    find_t_interval,
    find_t_probability,
    judge_difference,
    widen,
    wilson_interval,
)


def test_an_interval_covers_the_true_mean_of_skewed_overlaps_about_95_times_in_100() -> None:
    random, trials = np.random.default_rng(1), 400
    samples = random.beta(6, 1.5, (trials, 40))  # mean 0.8, a tail towards 0, as overlaps have
    ends = [bootstrap_mean(sample, resamples=800, seed=i) for i, sample in enumerate(samples)]
    covered = sum(end.low <= 0.8 <= end.high for end in ends)
    noise = 3 * math.sqrt(trials * 0.95 * 0.05)
    shortfall = 0.02 * trials  # what any bootstrap of 40 values lacks: it misses the factor n/(n-1)
    assert 0.95 * trials - shortfall - noise < covered < 0.95 * trials + noise


def test_the_interval_is_the_one_scipy_finds() -> None:
    # scipy.stats.bootstrap 1.17 with method "BCa" and 200 000 resamples: 0.6607 to 0.8393;
    # the plain percentile interval would be 0.683 to 0.850.
    percent = np.array([31, 55, 62, 70, 74, 78, 80, 83, 85, 86, 88, 90, 91, 93, 95])
    interval = bootstrap_mean(percent / 100, resamples=20_000)
    assert interval.value == pytest.approx(0.774)
    assert interval.low == pytest.approx(0.6607, abs=0.004)
    assert interval.high == pytest.approx(0.8393, abs=0.002)


def test_weights_give_the_mean_pooled_over_frames() -> None:
    frames = np.array([10, 30, 20])
    interval = bootstrap_mean(np.array([0.9, 0.5, 0.7]), frames)
    assert interval.value == pytest.approx((9 + 15 + 14) / 60)
    assert 0.5 <= interval.low < interval.value < interval.high <= 0.9


def test_a_repeated_sequence_counts_like_a_weight_for_the_estimate() -> None:
    assert bootstrap_mean(np.array([1.0, 0.0]), np.array([3, 1])).value == 0.75


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(3).random(20)
    assert bootstrap_mean(values, seed=7) == bootstrap_mean(values, seed=7)
    assert bootstrap_mean(values, seed=7) != bootstrap_mean(values, seed=8)


def test_equal_values_leave_no_doubt() -> None:
    assert bootstrap_mean(np.full(5, 0.5)) == Interval(0.5, 0.5, 0.5)


def test_one_sequence_tells_nothing_about_others() -> None:
    interval = bootstrap_mean(np.array([0.5]))
    assert interval.value == 0.5
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


@pytest.mark.parametrize("values", [np.array([]), np.array([0.5, np.nan])])
def test_missing_values_are_refused(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="one finite value"):
        bootstrap_mean(values)


def test_acceleration_of_a_mean_is_its_skewness_by_hand() -> None:
    # Deviations of 0, 0, 3 from their mean are -1, -1, 2: Σd³ = 6, Σd² = 6.
    assert find_acceleration(np.array([0.0, 0.0, 3.0])) == pytest.approx(6 / (6 * 6**1.5))
    assert find_acceleration(np.array([1.0, 2.0, 3.0])) == pytest.approx(0)


def test_wilson_by_hand() -> None:
    # 9 of 10 at 95 %: (0.9 + 0.19207 ± 1.96 √(0.009 + 0.0096036)) / 1.38415 (Wilson 1927)
    interval = wilson_interval(9, 10)
    assert interval.value == 0.9
    assert interval.low == pytest.approx(0.5958, abs=1e-4)
    assert interval.high == pytest.approx(0.9821, abs=1e-4)


def test_all_right_in_twenty_sequences_is_not_certainty() -> None:
    interval = wilson_interval(20, 20)
    assert interval.low == pytest.approx(0.8389, abs=1e-4)
    assert interval.high == 1


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.01, 0.05, "better"),
        (-0.01, 0.04, "no measurable change"),
        (-0.02, -0.01, "worse by less than the margin"),
        (-0.05, 0.02, "worse within noise"),  # a loss of 0.05 is possible, and so is a gain
        (-0.05, -0.01, "significantly worse"),
        (-0.03, -0.01, "worse by less than the margin"),  # the margin itself is still tolerated
        (math.nan, math.nan, "worse within noise"),
    ],
)
def test_the_verdicts_at_a_margin_of_three_hundredths(
    low: float, high: float, verdict: str
) -> None:
    assert judge_difference(Interval((low + high) / 2, low, high), 0.03) == verdict


def test_an_identical_candidate_passes_even_without_a_margin() -> None:
    assert judge_difference(bootstrap_mean(np.zeros(10)), 0) == "no measurable change"


def test_detectable_difference_by_hand() -> None:
    # The sd of ±1 (4 values) is √(4/3), its standard error √(1/3); 1.95996 + 0.84162 = 2.80159.
    found = find_detectable_difference(np.array([1.0, -1.0, 1.0, -1.0]))
    assert found == pytest.approx(2.80159 / math.sqrt(3), rel=1e-5)
    assert math.isnan(find_detectable_difference(np.array([0.1])))


def test_a_difference_of_the_detectable_size_is_found_about_80_times_in_100() -> None:
    random, trials, count = np.random.default_rng(5), 300, 50
    size = find_detectable_difference(random.normal(0, 0.1, 4000)) * math.sqrt(4000 / count)
    noise = 3 * math.sqrt(trials * 0.8 * 0.2)
    found = sum(
        bootstrap_mean(random.normal(size, 0.1, count), resamples=500, seed=i).low > 0
        for i in range(trials)
    )
    assert abs(found - 0.8 * trials) < noise


def test_a_seed_s_variance_adds_to_that_of_the_sequences() -> None:
    # 1.96 × √2 × 0.1 = 0.2772; with a half width of 0.2 it is √(0.2² + 0.2772²) = 0.3418
    found = widen(Interval(0.0, -0.2, 0.2), 0.1)
    assert found.low == pytest.approx(-0.3418, abs=1e-4)
    assert found.high == pytest.approx(0.3418, abs=1e-4)
    assert widen(Interval(0.0, -0.2, 0.2), 0.0) == Interval(0.0, -0.2, 0.2)


@pytest.mark.parametrize(
    ("t", "freedom", "probability"),
    [(2.015, 5, 0.95), (-2.015, 5, 0.05), (1.812, 10, 0.95), (6.314, 1, 0.95), (0.0, 7, 0.5),
     (-2.920, 2, 0.05), (2.704, 40, 0.995)],
)  # fmt: skip
def test_student_s_table(t: float, freedom: int, probability: float) -> None:
    assert find_t_probability(t, freedom) == pytest.approx(probability, abs=1e-4)


def test_the_p_value_of_a_loss_by_hand() -> None:
    # mean −2, sd 1, five pairs: t = −2 / (1 / √5) = −4.472, P = 0.0055 (table of t, 4 degrees)
    differences = -2 + np.array([-1, 1, 0, -1, 1]) * 1.0
    assert find_p_of_loss(differences) == pytest.approx(0.00553, abs=1e-4)
    assert find_p_of_loss(-differences) > 0.99
    assert find_p_of_loss(np.full(5, -0.1)) == 0
    assert find_p_of_loss(np.array([-1.0])) == 1


def test_the_t_interval_is_that_of_the_tables_and_ends_where_the_test_decides() -> None:
    differences = np.random.default_rng(2).normal(-0.03, 0.05, 10)
    found = find_t_interval(differences, None, tail=0.025)
    reach = 2.262157 * differences.std(ddof=1) / math.sqrt(10)
    assert found.high - found.value == pytest.approx(reach, rel=1e-4)
    p = find_p_of_loss(differences)
    assert find_t_interval(differences, None, tail=1.01 * p).high < 0
    assert find_t_interval(differences, None, tail=0.99 * p).high > 0
    assert math.isnan(find_t_interval(differences[:1], None, tail=0.025).low)


def test_holm_by_hand() -> None:
    # sorted 0.01, 0.02, 0.04 → × 3, × 2, × 1 → 0.03, 0.04, 0.04
    assert correct_for_many(np.array([0.04, 0.01, 0.02])) == pytest.approx([0.04, 0.03, 0.04])


# The gate's promises, on scores as test sets give them: overlaps of one sequence under two models
# correlate, and their differences have heavy tails (Student's t with 4 degrees of freedom).
SEQUENCES, SPREAD, MARGIN, TRIALS = 150, 0.10, 0.03, 400


def draw_differences(random: np.random.Generator, mean: float, count: int) -> np.ndarray:
    return mean + SPREAD / math.sqrt(2) * random.standard_t(4, count)


def judge_many(mean: float, count: int = SEQUENCES) -> list[str]:
    random = np.random.default_rng(11)
    draws = [draw_differences(random, mean, count) for _ in range(TRIALS)]
    return [
        judge_difference(bootstrap_mean(draw, resamples=400, seed=i), MARGIN)
        for i, draw in enumerate(draws)
    ]


@pytest.mark.parametrize("count", [20, 60, 150])
def test_a_model_worse_by_the_margin_is_promoted_at_most_five_times_in_a_hundred(
    count: int,
) -> None:
    promoted = sum(phrase in NOT_INFERIOR for phrase in judge_many(-MARGIN, count))
    assert promoted / TRIALS <= 0.05


def test_an_equal_model_passes_nine_times_in_ten_on_150_sequences() -> None:
    passed = sum(phrase in NOT_INFERIOR for phrase in judge_many(0.0))
    assert passed / TRIALS >= 0.9


def test_a_regression_of_twice_the_margin_is_called_one_nine_times_in_ten() -> None:
    phrases = judge_many(-2 * MARGIN)
    assert sum(phrase == "significantly worse" for phrase in phrases) / TRIALS >= 0.9
    assert not any(phrase in NOT_INFERIOR for phrase in phrases)


def test_all_slices_together_raise_a_false_alarm_at_most_five_times_in_a_hundred() -> None:
    random, trials, alarms = np.random.default_rng(5), 1000, 0
    for _ in range(trials):
        slices = [draw_differences(random, 0.0, n) for n in (5, 6, 6, 8, 12, 20, 30, 60)]
        p = correct_for_many(np.array([find_p_of_loss(s) for s in slices]))
        alarms += bool((p < 0.05).any())
    assert alarms / trials <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / trials)
