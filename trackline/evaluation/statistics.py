"""What a test set of a few dozen sequences can and cannot tell; the unit is always the sequence.

Frames of one sequence resemble each other, so resampling frames would claim far too much certainty:
every function here takes one number for each sequence, and draws whole sequences.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, Any]
Comparison = Literal[
    "better",
    "no measurable change",
    "worse by less than the margin",
    "worse within noise",
    "significantly worse",
]
NOT_INFERIOR: tuple[Comparison, ...] = (
    "better",
    "no measurable change",
    "worse by less than the margin",
)
NORMAL = NormalDist()


@dataclass(frozen=True)
class Interval:
    """An estimate and the ends of its confidence interval; the ends are NaN when nothing is known."""

    value: float
    low: float
    high: float


UNKNOWN = Interval(math.nan, math.nan, math.nan)


def bootstrap_mean(
    values: Array,
    weights: Array | None = None,
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Interval of the (weighted) mean of `values` [sequences] by the BCa bootstrap over sequences.

    With the number of frames as weights the estimate is the mean pooled over frames. BCa (Efron &
    Tibshirani, An Introduction to the Bootstrap, 1993, section 14.3) and not the plain percentile or
    mean ± 1.96 standard errors: overlaps and accuracies crowd against 1, and BCa corrects for that
    skew (its error shrinks with 1/n, theirs with 1/√n) and never leaves the range of the data.
    """
    values, weights = _prepare(values, weights)
    value = float(np.average(values, weights=weights))
    if len(values) < 2:
        return Interval(value, math.nan, math.nan)
    if np.ptp(values) == 0:
        return Interval(value, value, value)
    means = _resample_means(values, weights, resamples, seed)
    below = np.mean(means < value) + np.mean(means == value) / 2
    bias = NORMAL.inv_cdf(float(np.clip(below, 0.5 / resamples, 1 - 0.5 / resamples)))
    skew = find_acceleration(values, weights)
    ends = [_shift(p, bias, skew) for p in ((1 - level) / 2, (1 + level) / 2)]
    low, high = np.quantile(means, ends)
    return Interval(value, float(low), float(high))


def find_acceleration(values: Array, weights: Array | None = None) -> float:
    """BCa's acceleration by the jackknife over sequences (Efron & Tibshirani 1993, eq. 14.15)."""
    values, weights = _prepare(values, weights)
    without = ((weights * values).sum() - weights * values) / (weights.sum() - weights)
    deviation = without.mean() - without
    spread = float((deviation**2).sum())
    return float((deviation**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0


def wilson_interval(successes: int, trials: int, level: float = 0.95) -> Interval:
    """Interval of a share of sequences (Wilson 1927, JASA 22); informative even when all succeed."""
    z, share = NORMAL.inv_cdf((1 + level) / 2), successes / trials
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = (
        z * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2)) / (1 + z**2 / trials)
    )
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


def judge_difference(difference: Interval, margin: float) -> Comparison:
    """Say what candidate − champion means; only NOT_INFERIOR verdicts rule out a loss beyond `margin`.

    The non-inferiority test of Piaggio et al. (CONSORT 2012, JAMA 308): the candidate must show that
    it loses no more than the margin. "worse within noise" is the undecided case, a loss beyond the
    margin that the data neither show nor exclude; unknown (NaN) ends belong there too.
    """
    if difference.low > 0:
        return "better"
    if difference.low >= -margin:
        return "worse by less than the margin" if difference.high < 0 else "no measurable change"
    return "significantly worse" if difference.high < 0 else "worse within noise"


def find_detectable_difference(
    differences: Array,
    weights: Array | None = None,
    *,
    seed_sd: float = 0.0,
    power: float = 0.8,
    level: float = 0.95,
) -> float:
    """Smallest true difference of means that this many pairs reveal with probability `power`.

    It is (z₁₋α/₂ + z_power) × the standard error of the mean paired difference (Chow et al., Sample
    Size Calculations in Clinical Research, 2008, section 3.1), to which the seeds of two trainings add
    2 `seed_sd`²; a margin below it is often missed even by a candidate as good as the champion. NaN for
    fewer than two pairs.
    """
    differences, weights = _prepare(differences, weights)
    count = len(differences)
    if count < 2:
        return math.nan
    error = math.hypot(_find_error(differences, weights), math.sqrt(2) * seed_sd)
    return (NORMAL.inv_cdf((1 + level) / 2) + NORMAL.inv_cdf(power)) * error


def widen(interval: Interval, seed_sd: float, level: float = 0.95) -> Interval:
    """An interval of a difference of two trainings, widened by what their seeds alone do to each.

    Both ends move out as the variances of sampling and of two seeds add up.
    """
    if seed_sd == 0:
        return interval
    reach = NORMAL.inv_cdf((1 + level) / 2) * math.sqrt(2) * seed_sd
    low = interval.value - math.hypot(interval.value - interval.low, reach)
    high = interval.value + math.hypot(interval.high - interval.value, reach)
    return Interval(interval.value, low, high)


def find_p_of_loss(differences: Array, weights: Array | None = None) -> float:
    """p value of "the mean difference is not below 0": Student's paired t test, one-sided.

    It holds its level for slices of half a dozen sequences even when their differences have heavy
    tails (see the simulation in the tests), where the signs of so few pairs could never tell. 1 for
    fewer than two pairs.
    """
    differences, weights = _prepare(differences, weights)
    count = len(differences)
    if count < 2:
        return 1.0
    mean, error = float(np.average(differences, weights=weights)), _find_error(differences, weights)
    if error == 0:
        return 0.0 if mean < 0 else 1.0
    return find_t_probability(mean / error, count - 1)


def find_t_interval(differences: Array, weights: Array | None, tail: float) -> Interval:
    """The mean difference between bounds of which each errs with probability `tail`, by Student's t.

    The upper one lies below 0 just where `find_p_of_loss` is below `tail`; unknown for fewer than two pairs.
    """
    differences, weights = _prepare(differences, weights)
    count = len(differences)
    if count < 2:
        return UNKNOWN
    mean, error = float(np.average(differences, weights=weights)), _find_error(differences, weights)
    near, far = 0.0, 1e6
    while far - near > 1e-9 * far:
        middle = (near + far) / 2
        near, far = (
            (near, middle) if find_t_probability(-middle, count - 1) < tail else (middle, far)
        )
    return Interval(mean, mean - far * error, mean + far * error)


def find_t_probability(t: float, freedom: int) -> float:
    """P(T ≤ t) of Student's t with so many degrees of freedom (Abramowitz & Stegun 26.7.3, 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for step in range(1 + odd, freedom, 2):
        total += term
        term *= cosine**2 * step / (step + 1)
    share = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return 0.5 + share / 2


def correct_for_many(p_values: Array) -> Array:
    """Holm's correction (1979): p values [k] that hold for all k tests together."""
    order = np.argsort(p_values)
    steps = np.asarray(p_values)[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected


def _find_error(values: Array, weights: Array) -> float:
    """Standard error of a weighted mean of independent values."""
    count = len(values)
    residuals = weights * (values - np.average(values, weights=weights))
    return math.sqrt((residuals**2).sum() * count / (count - 1)) / float(weights.sum())


def _prepare(values: Array, weights: Array | None) -> tuple[Array, Array]:
    values = np.asarray(values, dtype=np.float64)
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
    if len(values) == 0 or len(values) != len(weights) or not np.isfinite(values).all():
        raise ValueError(
            f"{len(values)} values and {len(weights)} weights; give one finite value and one weight "
            "for each sequence"
        )
    return values, weights


def _resample_means(values: Array, weights: Array, resamples: int, seed: int) -> Array:
    draws = np.random.default_rng(seed).integers(0, len(values), (resamples, len(values)))
    means: Array = (weights * values)[draws].sum(axis=1) / weights[draws].sum(axis=1)
    return means


def _shift(probability: float, bias: float, skew: float) -> float:
    z = bias + NORMAL.inv_cdf(probability)
    return NORMAL.cdf(bias + z / (1 - skew * z))
