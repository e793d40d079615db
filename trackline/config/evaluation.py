"""How a trained network tracks, is measured and is gated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trackline.records import Count, Difference, Fraction, Natural, NonNegative


@dataclass(frozen=True)
class Track:
    """How a trained network follows a target."""

    window: Fraction = 1.0
    clip_margin_px: NonNegative = 2.0
    scale_lr: Fraction = 1.0
    slots: Count = 16


# the toolkits whose rules trackline.evaluation.protocols knows
Protocol = Literal[
    "got10k", "otb", "got10k_ope", "trackingnet",
    "pytracking_otb", "pytracking_got10k", "pytracking_uav", "pytracking_lasot",
    "pytracking_lasot_valid",
    "hiptrack_otb", "hiptrack_got10k", "hiptrack_uav", "hiptrack_lasot", "hiptrack_lasot_valid",
]  # fmt: skip


@dataclass(frozen=True)
class Evaluate:
    """One-pass evaluation of the held-out sequences."""

    split: str = "test"
    csrt: bool = True
    bootstrap: Count = 2000
    seed: Natural = 0
    protocols: tuple[Protocol, ...] = ()
    min_slice_sequences: Count = 5


@dataclass(frozen=True)
class Floors:
    """The least that further metrics must reach; null asks nothing."""

    sr50: Fraction | None = None
    sr75: Fraction | None = None
    success_auc: Fraction | None = None
    precision_20: Fraction | None = None
    norm_precision_auc: Fraction | None = None
    accuracy: Fraction | None = None
    accuracy_given_iou50: Fraction | None = None
    joint_accuracy: Fraction | None = None
    time_to_failure: Fraction | None = None


@dataclass(frozen=True)
class Ceilings:
    """The most that a model may cost, fail and mislead; null asks nothing."""

    ece: Fraction | None = None
    box_ece: Fraction | None = None
    failures_per_1000: NonNegative | None = None
    centre_bias_px: NonNegative | None = None
    latency_ms: NonNegative | None = None
    size_mb: NonNegative | None = None
    quarantined: Fraction | None = None


@dataclass(frozen=True)
class SliceGates:
    """What every slice of the test set must reach, and may lose against the champion; null asks nothing."""

    min_ao: Fraction | None = None
    min_accuracy: Fraction | None = None
    champion_margin_ao: Fraction | None = 0.05


@dataclass(frozen=True)
class Gate:
    """What a candidate must reach; a metric that is missing or not a number fails.

    `champion_margin_shift_px` is how far its boxes may lie to one side of the champion's; null asks
    nothing, and is the default because a better network may rightly lay them elsewhere.
    `seed_sd_ao` and `seed_sd_accuracy` are standard deviations between trainings that differ in their
    seed alone; they widen the comparison with the champion.
    """

    min_ao: Fraction = 0.5
    min_gain_over_static: Difference = 0.2
    min_template_gain: Difference = 0.15
    min_sequence_accuracy: Fraction = 0.9
    champion_margin_ao: Fraction = 0.03
    champion_margin_accuracy: Fraction = 0.05
    champion_margin_shift_px: NonNegative | None = None
    seed_sd_ao: Fraction = 0.0
    seed_sd_accuracy: Fraction = 0.0
    floors: Floors = Floors()
    ceilings: Ceilings = Ceilings()
    slices: SliceGates = SliceGates()
    drift_blocks: Literal["never", "drift", "warn"] = "never"
