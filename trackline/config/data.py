"""What is trained on and how it is looked at first: footage, validation, drift."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from trackline.errors import ConfigError
from trackline.records import Count, Fraction, Natural, NonNegative, Range

Layout = Literal[
    "auto", "got10k", "lasot", "trackingnet", "otb", "dtb70", "uav123", "nfs", "vot", "davis", "mot",
    "tld", "simple",
]  # fmt: skip


@dataclass(frozen=True)
class Shares:
    """How footage whose layout names no split is spread over the splits."""

    train: NonNegative = 0.8
    val: NonNegative = 0.1
    test: NonNegative = 0.1

    def __post_init__(self) -> None:
        if self.train + self.val + self.test <= 0:
            raise ConfigError(
                "data.split leaves nothing for any split; give train, val or test a share"
            )


@dataclass(frozen=True)
class Data:
    """Where the annotated footage lies and what it shows.

    `class_map` gives classes to what a layout calls otherwise or not at all: the first pattern that fits
    DATA_SET/SEQUENCE, SEQUENCE or the layout's own class decides.
    """

    path: str = "data"
    layout: Layout = "auto"
    classes: tuple[str, ...] = ()
    class_map: dict[str, str] = field(default_factory=dict)
    split: Shares = Shares()

    def __post_init__(self) -> None:
        if self.classes and (unknown := sorted(set(self.class_map.values()) - set(self.classes))):
            raise ConfigError(
                f"data.class_map names {unknown[0]!r}, which data.classes does not list; "
                "add it there or correct the map"
            )
        if len(set(self.classes)) != len(self.classes):
            raise ConfigError(f"data.classes names a class twice: {', '.join(self.classes)}")


@dataclass(frozen=True)
class Validate:
    """How strict the annotation rules are.

    `severity` overrides a rule's own, by its name. With `quarantine` what breaks an error is set aside and
    the rest goes on, unless more than `max_quarantined` of the frames is lost.
    """

    outside_tolerance_px: NonNegative = 1.0
    min_visible_frames: Count = 2
    min_sequences_per_split: Count = 2
    max_step: NonNegative = 5.0
    max_growth: Annotated[float, Range(1)] = 5.0
    max_frozen_frames: Count = 30
    max_imbalance: Annotated[float, Range(1)] = 20.0
    max_image_mpx: NonNegative = 100.0
    image_sample: Fraction = 1.0
    severity: dict[str, Literal["error", "warning", "ignore"]] = field(default_factory=dict)
    quarantine: bool = False
    max_quarantined: Fraction = 0.1


@dataclass(frozen=True)
class Drift:
    """When today's data counts as different from the champion's.

    `false_alarm_rate` is the chance that data of the same kind yield a warning; `min_shift`, in
    standard deviations, is what no one would care about however certain it is.
    """

    sample: Count = 2000
    frames_per_sequence: Count = 3
    seed: Natural = 0
    min_sequences: Count = 30
    false_alarm_rate: Annotated[float, Range(0.001, 0.5, "a fraction")] = 0.01
    min_shift: NonNegative = 0.1
    warn_features: Count = 1
    drift_features: Count = 3
