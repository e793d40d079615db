"""One training run: the reference's recipe, and what may be chosen instead."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from trackline.errors import ConfigError
from trackline.records import Count, Fraction, Natural, NonNegative, Range


@dataclass(frozen=True)
class Jitter:
    """Random displacement of the search crop (in target sizes) and its size (log scale)."""

    centre: NonNegative = 4.5
    scale: NonNegative = 0.5


@dataclass(frozen=True)
class Augment:
    """Chances and strengths of what training does to a clip."""

    grey: Fraction = 0.05
    flip: Fraction = 0.5
    brightness: Fraction = 0.2
    colour: Fraction = 0.0
    recolour: Fraction = 0.0
    distractors: Fraction = 0.0


@dataclass(frozen=True)
class Train:
    """One training run.

    `mix` draws clips from data sets in these shares, each named; empty draws from all sequences alike.
    """

    seed: Natural = 0
    epochs: Count = 100
    samples_per_epoch: Count = 60_000
    batch: Count = 32
    accumulate: Count = 1
    search_frames: Count = 5
    history_start_epoch: Natural = 0
    max_gap: Count = 70
    mix: dict[str, NonNegative] = field(default_factory=dict)
    optimiser: Literal["adamw", "muon"] = "adamw"
    muon_lr: Annotated[float, Range(1e-8, 1)] = 0.02
    lr: Annotated[float, Range(1e-8, 1)] = 1e-4
    backbone_lr_scale: NonNegative = 1.0
    weight_decay: NonNegative = 1e-4
    warmup_epochs: NonNegative = 0
    schedule: Literal["cosine", "step"] = "cosine"
    step_epoch: Count = 80
    clip_norm: NonNegative = 0.1
    class_weight: NonNegative = 1.0
    label_smoothing: Fraction = 0.0
    ema: Fraction = 0.0
    keep_start_epoch: Natural = 20
    keep_warmup_epochs: Natural = 80
    jitter: Jitter = Jitter()
    augment: Augment = Augment()
    precision: Literal["float32", "bfloat16"] = "float32"
    recompute: bool = False
    cache_mb: Natural = 2048
    loader_threads: Count = 1
    checkpoint_minutes: NonNegative = 10

    def __post_init__(self) -> None:
        if self.samples_per_epoch < self.batch:
            raise ConfigError(
                f"train.samples_per_epoch is {self.samples_per_epoch}; "
                f"an epoch needs at least one batch, {self.batch} samples"
            )
        if self.mix and not any(self.mix.values()):
            raise ConfigError("train.mix gives every data set 0; give at least one a share")
        if self.schedule == "step" and self.step_epoch >= self.epochs:
            raise ConfigError(
                f"train.step_epoch is {self.step_epoch}, but train.epochs is {self.epochs}; a step must "
                "come before the end (or set train.schedule: cosine)"
            )
