"""The network: each default is the reference's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from trackline.errors import ConfigError
from trackline.records import Count, Fraction, Range


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
