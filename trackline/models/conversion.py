"""Weights made elsewhere as a model package: sizes read off the tensors, or given.

What a file cannot tell is the reference's: 64 channels a head of attention, elimination after each
quarter of the blocks, search regions of 5 times the target, of 4 times at 256 pixels and below.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from trackline import artifacts, config
from trackline.errors import ConfigError, PackageError
from trackline.models import package
from trackline.models.checkpoints import State, read_source
from trackline.models.network import Network
from trackline.models.weights import Report, load_state, rename_reference

# the published results rebuild the tracker for each sequence, so its memory does start empty there
PUBLISHED: tuple[config.Quirk, ...] = ("mask", "crop", "memory_box")
BLOCK = re.compile(r"backbone\.blocks\.(\d+)\.")
CARD = """# Model card

Converted from {source} by `trackline weights convert`.

```
{report}
```

Nothing was trained here: what started afresh must be. Sizes and preprocessing are in model.yaml.
Owner and licence of the weights are those of the source.
"""


def convert(
    source: str, out: Path, params: config.Params | None = None
) -> tuple[package.Package, Report]:
    """Make a package of a file, a package or a timm ViT, of the sizes of `params` or its own.

    Raises PackageError, `out` untouched, when the source cannot be read or does not fit.
    """
    state = rename_reference(read_source(source))
    known = describe(source, state)
    if params is not None:
        known = replace(known, model=params.model, classes=params.data.classes)
    network = Network(known.model, len(known.classes)).eval()
    report = load_state(network, state, source)
    lineage: dict[str, Any] = {
        "converted_from": source,
        "sha256": artifacts.sha256(Path(source)) if Path(source).is_file() else None,
        "mapped": len(report.mapped),
        "left": report.left,
        "initialised": report.initialised,
    }
    made = package.Package(network, known.classes, known.track, lineage)
    package.save(out, made, CARD.format(source=source, report=report))
    return made, report


def describe(source: str, state: State) -> package.Description:
    """Architecture, classes and manner of tracking of weights under this project's names."""
    if Path(source).is_dir():
        return package.read_description(Path(source))
    track = config.Track(window=1.0, clip_margin_px=10)  # the reference's
    try:
        return package.Description(infer_model(source, state), (), track)
    except ConfigError as error:
        raise PackageError(
            f"the sizes of {source} cannot be read off it ({error}); describe them in a file for --params"
        ) from None


def infer_model(source: str, state: State) -> config.Model:
    """The architecture that fits the tensors; raises PackageError where they are of no ViT."""
    if "backbone.patch_embed.proj.weight" not in state:
        raise PackageError(
            f"{source} holds no patch embedding of a ViT; give a ViT, a tracker, or a package as its folder"
        )
    width, _, patch, _ = state["backbone.patch_embed.proj.weight"].shape
    depth = len({m[1] for m in map(BLOCK.match, state) if m})
    if not depth or width % 64:
        raise PackageError(
            f"{source} has {depth} blocks of width {width}; its number of heads cannot be read off "
            "that, so describe model in a file and give it with --params"
        )
    template = _find_side(state, "backbone.pos_embed_z", 12)
    search = _find_side(state, "backbone.pos_embed_x", 24)
    head, head_width = _infer_head(state)
    default = config.History()
    layers = tuple(sorted({depth * i // 4 for i in (1, 2, 3)}))
    return config.Model(
        variant="tracking",
        template=config.Crop(template * patch, 2.0),
        search=config.Crop(search * patch, 4.0 if search * patch <= 256 else 5.0),
        backbone=config.Backbone(
            patch=patch,
            width=width,
            depth=depth,
            heads=width // 64,
            temporal="backbone.temporal_x" in state,
        ),
        elimination=config.Elimination(layers, (0.7,) * len(layers)),
        history=config.History(
            key_width=_find_width(state, "history.to_key.weight", default.key_width),
            stem_width=_find_width(state, "history.encoder.conv1.weight", default.stem_width),
        ),
        head=head,
        head_width=head_width,
        reference_compat=PUBLISHED if _is_tracker(state) else False,
    )


def _infer_head(state: State) -> tuple[Any, int]:
    """The kind of box head, and its width."""
    default = config.Model().head_width
    marks = {
        "corner": "box_head.top_left.0.0.weight",
        "mlp": "box_head.layers.0.weight",
        "centre": "box_head.score.0.0.weight",
    }
    for kind, mark in marks.items():
        if mark in state:
            return kind, _find_width(state, mark, default)
    return "centre", default


def _is_tracker(state: State) -> bool:
    return any(name.startswith("box_head.") for name in state)


def _find_width(state: State, name: str, default: int) -> int:
    return len(state[name]) if name in state else default


def _find_side(state: State, name: str, default: int) -> int:
    return math.isqrt(state[name].shape[1]) if name in state else default
