"""params.yaml as frozen, typed records, each default the reference's or a person's choice."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from trackline import records
from trackline.errors import ConfigError
from trackline.records import Count, Difference, Fraction, Natural, NonNegative, Range

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


@dataclass(frozen=True)
class Crop:
    """A square crop: its side in pixels, and that side over the square root of the target's area."""

    size: Count
    factor: Annotated[float, Range(1)]


@dataclass(frozen=True)
class Backbone:
    """The shared ViT."""

    patch: Count = 16
    stem: Literal["patch", "convolutional"] = "patch"
    width: Count = 768
    depth: Count = 12
    heads: Count = 12
    drop_path: Fraction = 0.1
    temporal: bool = True

    def __post_init__(self) -> None:
        if self.stem == "convolutional" and self.patch & (self.patch - 1):
            raise ConfigError(
                f"model.backbone.patch is {self.patch}; a convolutional stem halves the image at "
                "each layer, so its patch must be a power of two"
            )
        if self.width % self.heads:
            raise ConfigError(
                f"model.backbone.width is {self.width} and heads is {self.heads}; "
                "the width must be a multiple of the number of heads"
            )
        if self.width % 2:
            raise ConfigError(
                f"model.backbone.width is {self.width}; it must be even, because one half of a prompt "
                "comes from the memory, the other from the frame"
            )


@dataclass(frozen=True)
class Elimination:
    """Candidate elimination: after which blocks, what share of the search tokens stays."""

    layers: tuple[int, ...] = (3, 6, 9)
    keep: tuple[Fraction, ...] = (0.7, 0.7, 0.7)
    rows: Literal["all", "centre", "centre_square", "box"] = "centre"

    def __post_init__(self) -> None:
        if len(self.layers) != len(self.keep):
            raise ConfigError(
                f"model.elimination.keep has {len(self.keep)} ratios for {len(self.layers)} layers; "
                "give one ratio for each layer"
            )
        if list(self.layers) != sorted(set(self.layers)):
            raise ConfigError(
                f"model.elimination.layers is {list(self.layers)}; name each layer once, in order"
            )
        if 0 in self.keep:
            raise ConfigError(
                f"model.elimination.keep is {list(self.keep)}; a layer must keep more than nothing"
            )


@dataclass(frozen=True)
class History:
    """The historical prompts: widths, capacity of the memory, and when a frame is written to it."""

    key_width: Count = 64
    stem_width: Count = 64
    capacity: Count = 150
    first_writes: tuple[int, ...] = (5, 10)
    interval: Count = 20

    def __post_init__(self) -> None:
        if not self.first_writes:
            raise ConfigError(
                "model.history.first_writes is empty; name at least one frame, "
                "because later frames read only what was written"
            )

    def writes(self, frame: int) -> bool:
        """Whether tracked frame number `frame` (the first is 1) goes into the memory."""
        return frame in self.first_writes or (
            frame > self.template_until and frame % self.interval == 0
        )

    @property
    def template_until(self) -> int:
        """The last frame that reads the template in place of the memory."""
        return max(self.first_writes)


@dataclass(frozen=True)
class ClassHead:
    """The classification head on pooled tokens.

    `pool` says on which: the search tokens that survived elimination, all of them (the eliminated
    count as zeros), the fused features behind the history branch, or the survivors under the box.
    """

    hidden: Count = 512
    dropout: Fraction = 0.1
    pool: Literal["survivors", "all", "fused", "box"] = "survivors"


# Where the reference is wrong, what `model.reference_compat` brings back: one-sided clamps and
# truncations of memory masks; a memory that outlives its sequence; crops half a pixel off, a border
# pixel short; the box before the Hann window remembered; the class pooled over eliminated zeros; a
# second flip for each image of a clip on its own.
Quirk = Literal["mask", "bank", "crop", "memory_box", "pooling", "flips"]


@dataclass(frozen=True)
class Model:
    """The network; the defaults are the reference's (ViT-B, 192/384).

    `reference_compat` is true for all of the reference's quirks, or a list of some. `pretrained` is
    a file of weights, a model package or the name of a timm ViT that training starts from.
    """

    variant: Literal["multitask", "fusion", "tracking"] = "multitask"
    template: Crop = Crop(192, 2.0)
    search: Crop = Crop(384, 5.0)
    backbone: Backbone = Backbone()
    elimination: Elimination = Elimination()
    history: History = History()
    head: Literal["centre", "corner", "mlp"] = "centre"
    head_width: Count = 256
    class_head: ClassHead = ClassHead()
    fusion_width: int | None = None
    reference_compat: bool | tuple[Quirk, ...] = False
    pretrained: str | None = None

    def mimics(self, quirk: Quirk) -> bool:
        """Whether the network behaves as the reference where that is wrong."""
        compat = self.reference_compat
        return compat if isinstance(compat, bool) else quirk in compat

    def __post_init__(self) -> None:
        for name, crop in (("template", self.template), ("search", self.search)):
            if crop.size % self.backbone.patch:
                raise ConfigError(
                    f"model.{name}.size is {crop.size}; it must be a multiple of "
                    f"model.backbone.patch, {self.backbone.patch}"
                )
        if any(not 0 <= layer < self.backbone.depth for layer in self.elimination.layers):
            raise ConfigError(
                f"model.elimination.layers is {list(self.elimination.layers)}; "
                f"blocks are numbered 0 to {self.backbone.depth - 1}"
            )
        if self.variant == "fusion" and self.class_head.pool == "box":
            raise ConfigError(
                "model.class_head.pool is 'box', but in the fusion variant the class comes before the "
                "box; choose survivors, all or fused, or model.variant: multitask"
            )
        if self.fusion_width not in (None, self.backbone.width):
            raise ConfigError(
                f"model.fusion_width is {self.fusion_width}, but the search features that the fused "
                f"vector is added to are {self.backbone.width} wide, and vectors of different width "
                "cannot be added; leave it null, and the class vector is projected to that width"
            )


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
    """One training run."""

    seed: Natural = 0
    epochs: Count = 100
    samples_per_epoch: Count = 60_000
    batch: Count = 32
    accumulate: Count = 1
    search_frames: Count = 5
    history_start_epoch: Natural = 0
    max_gap: Count = 70
    optimiser: Literal["adamw", "muon"] = "adamw"
    muon_lr: Annotated[float, Range(1e-8, 1)] = 0.02
    lr: Annotated[float, Range(1e-8, 1)] = 1e-4
    backbone_lr_scale: NonNegative = 1.0
    weight_decay: NonNegative = 1e-4
    warmup_epochs: NonNegative = 0
    clip_norm: NonNegative = 0.1
    class_weight: NonNegative = 1.0
    label_smoothing: Fraction = 0.0
    ema: Fraction = 0.0
    keep_start_epoch: Natural = 20
    keep_warmup_epochs: Natural = 80
    jitter: Jitter = Jitter()
    augment: Augment = Augment()
    precision: Literal["float32", "bfloat16"] = "float32"
    cache_mb: Natural = 2048
    loader_threads: Count = 1
    checkpoint_minutes: NonNegative = 10

    def __post_init__(self) -> None:
        if self.samples_per_epoch < self.batch:
            raise ConfigError(
                f"train.samples_per_epoch is {self.samples_per_epoch}; "
                f"an epoch needs at least one batch, {self.batch} samples"
            )


@dataclass(frozen=True)
class Track:
    """How a trained network follows a target."""

    window: Fraction = 1.0
    clip_margin_px: NonNegative = 2.0
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

    `seed_sd_ao` and `seed_sd_accuracy` are standard deviations between trainings that differ in their
    seed alone; they widen the comparison with the champion.
    """

    min_ao: Fraction = 0.5
    min_gain_over_static: Difference = 0.2
    min_template_gain: Difference = 0.15
    min_sequence_accuracy: Fraction = 0.9
    champion_margin_ao: Fraction = 0.03
    champion_margin_accuracy: Fraction = 0.05
    seed_sd_ao: Fraction = 0.0
    seed_sd_accuracy: Fraction = 0.0
    floors: Floors = Floors()
    ceilings: Ceilings = Ceilings()
    slices: SliceGates = SliceGates()
    drift_blocks: Literal["never", "drift", "warn"] = "never"


@dataclass(frozen=True)
class Card:
    """What only a person knows of a model; it stands in the card of every registered version."""

    owner: str | None = None
    weights_licence: str | None = None
    data_licence: str | None = None
    excluded_uses: str | None = None


@dataclass(frozen=True)
class Registry:
    """Where accepted models go; MLFLOW_TRACKING_URI, when set, wins over `uri`."""

    name: str = "tracker"
    uri: str = "sqlite:///registry/mlflow.db"
    trusted_key: str | None = None  # a public key that must have signed every fetched model
    card: Card = field(default_factory=Card)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]+", self.name):
            raise ConfigError(
                f"registry.name is {self.name!r}; use letters, digits, '.', '-' and '_' only, "
                "because it becomes part of models:/NAME/VERSION"
            )


@dataclass(frozen=True)
class Params:
    """All of params.yaml."""

    data: Data = field(default_factory=Data)
    validate: Validate = field(default_factory=Validate)
    drift: Drift = field(default_factory=Drift)
    model: Model = field(default_factory=Model)
    train: Train = field(default_factory=Train)
    track: Track = field(default_factory=Track)
    evaluate: Evaluate = field(default_factory=Evaluate)
    gate: Gate = field(default_factory=Gate)
    registry: Registry = field(default_factory=Registry)


def load(path: Path = Path("params.yaml")) -> Params:
    """Read params.yaml; raises ConfigError with the key, the rule and the remedy."""
    if not path.is_file():
        raise ConfigError(f"{path} does not exist; run from the project's root or pass --params")
    return records.read(Params, path)
