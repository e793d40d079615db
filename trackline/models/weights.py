"""Weights made elsewhere: reference trackers (HIPTrack, DropTrack, OSTrack), MAE and timm ViTs.

Their names are translated to this project's, position embeddings are resized to its grids, and what
a file lacks keeps the network's own initialisation. Shapes: n tokens, c backbone width.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trackline.errors import PackageError
from trackline.models.checkpoints import State, read_source
from trackline.models.network import Network

BRANCHES = {
    "ctr": "score",
    "offset": "offset",
    "size": "size",
    "tl": "top_left",
    "br": "bottom_right",
}
RENAMES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (
        r"^((temporal_)?pos_embed|patch_embed|cls_token|blocks\.|norm\.)",
        r"backbone.\1",
    ),  # a bare ViT
    (r"^backbone\.temporal_pos_embed_([zx])$", r"backbone.temporal_\1"),
    (r"^box_head\.conv(\d)_([a-z]+)", lambda m: f"box_head.{BRANCHES[m[2]]}.{int(m[1]) - 1}"),
    (r"^HIP\.encoder\.(fuser\.)?", "history.encoder."),
    (r"^history\.encoder\.layer(\d)", lambda m: f"history.encoder.layers.{int(m[1]) - 1}"),
    (r"^(history\..+)\.downsample\b", r"\1.shortcut"),
    (r"\.ChannelGate\.mlp\.([13])\b", lambda m: f".channel.{int(m[1]) - 1}"),  # 0 flattens
    (r"\.SpatialGate\.spatial\.conv\b", ".spatial"),
    (r"^key_proj\.key_proj\b", "history.to_key"),
    (r"^key_comp\b", "history.to_thin"),
    (r"^searchRegionFusion\b", "history.fuse"),
)


@dataclass(frozen=True)
class Report:
    """Names of tensors: taken from a file, left in it, and kept as the network initialised them."""

    mapped: tuple[str, ...]
    left: tuple[str, ...]
    initialised: tuple[str, ...]
    silent: bool = False  # a tracker without history: prompts stay zero until they are trained

    def __str__(self) -> str:
        rows = (("mapped", self.mapped), ("left", self.left), ("initialised", self.initialised))
        lines = [f"{title:12}{_summarise(names)}" for title, names in rows]
        if self.silent:
            lines.append("history     starts at zero: boxes are the file's own until it is trained")
        return "\n".join(lines)


def initialise(network: Network, pretrained: str | None) -> Report | None:
    """Start from model.pretrained: a file, a package, the name of a timm model, or None for nothing.

    Raises PackageError when there is no such thing, or it does not fit.
    """
    if pretrained is None:
        return None
    return load_state(network, read_source(pretrained), pretrained)


def load_state(network: Network, state: Mapping[str, Tensor], source: str) -> Report:
    """Load named tensors, under the names of any tracker known here, into a network.

    Raises PackageError, the network unchanged, if they do not fit.
    """
    given = _fit_positions(_fit_temporal(rename_reference(state), network), network)
    own = network.state_dict()
    mapped = {name: tensor for name, tensor in given.items() if name in own}
    _drop_other_classes(mapped, own)
    left, fresh = sorted(given.keys() - mapped.keys()), sorted(own.keys() - mapped.keys())
    _check_fit(mapped, left, own, source)
    _check_whole(mapped, fresh, source)
    network.load_state_dict(mapped, strict=False)
    parts = {name.split(".")[0] for name in mapped}
    silent = "box_head" in parts and "history" not in parts
    if silent:
        network.history.start_silent()
    return Report(tuple(sorted(mapped)), tuple(left), tuple(fresh), silent)


def rename_reference(state: Mapping[str, Tensor]) -> State:
    """Translate names of reference trackers and bare ViTs; names unknown here stay as they are."""
    return {rename(name): tensor for name, tensor in state.items()}


def rename(name: str) -> str:
    """This project's name for a tensor of a reference tracker."""
    for pattern, replacement in RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def resize_positions(positions_1nc: Tensor, grid: int) -> Tensor:
    """Resize a square grid of position embeddings to [1, grid², c], bicubic; class tokens go."""
    side = math.isqrt(positions_1nc.shape[1])
    square = positions_1nc[:, -(side**2) :].transpose(1, 2).unflatten(2, (side, side))
    if side != grid:
        square = F.interpolate(square, (grid, grid), mode="bicubic", align_corners=False)
    resized: Tensor = square.flatten(2).transpose(1, 2)
    return resized


def _fit_positions(state: State, network: Network) -> State:
    """Give both images a grid of their own, cut from the ViT's single one where there is no other."""
    fitted, backbone = dict(state), network.backbone
    for name, grid in (("pos_embed_z", backbone.grid_z), ("pos_embed_x", backbone.grid_x)):
        source = state.get(f"backbone.{name}", state.get("backbone.pos_embed"))
        if source is not None:
            fitted[f"backbone.{name}"] = resize_positions(source, grid)
    if "backbone.pos_embed_z" not in state:
        fitted.pop("backbone.pos_embed", None)
    return fitted


def _fit_temporal(state: State, network: Network) -> State:
    """OSTrack has no temporal vectors: zero. A network without any takes them into its positions."""
    fitted = dict(state)
    for image in "zx":
        positions, temporal = f"backbone.pos_embed_{image}", f"backbone.temporal_{image}"
        if positions not in state:
            continue
        if network.backbone.temporal:
            fitted.setdefault(temporal, torch.zeros_like(state[positions][:, :1]))
        elif temporal in state:
            fitted[positions] = state[positions] + fitted.pop(temporal)
    return fitted


def _drop_other_classes(mapped: State, own: Mapping[str, Tensor]) -> None:
    """Other classes need logits of their own."""
    for name in ("class_head.logits.weight", "class_head.logits.bias"):
        if name in mapped and mapped[name].shape != own[name].shape:
            del mapped[name]


def _check_fit(mapped: State, left: list[str], own: Mapping[str, Tensor], source: str) -> None:
    if not mapped:
        raise PackageError(f"{source} shares no tensor with this network; give a ViT or a tracker")
    extra = [name for name in left if name.startswith("backbone.blocks.")]
    if extra:
        raise PackageError(
            f"{source} has {extra[0]}, which this network lacks; set model.backbone.depth to the "
            "file's number of blocks, or give a plain ViT"
        )
    for name, tensor in mapped.items():
        if tensor.shape != own[name].shape:
            raise PackageError(
                f"{name} is {list(tensor.shape)} in {source} but {list(own[name].shape)} in this "
                "network; give model the sizes that the file was trained with"
            )


def _check_whole(mapped: State, fresh: list[str], source: str) -> None:
    """A part comes from the file whole or not at all; counters of batches may be missing."""
    known = {_part_of(name) for name in mapped}
    for name in fresh:
        part = _part_of(name)
        if part in known - {"class_head"} and not name.endswith("num_batches_tracked"):
            raise PackageError(
                f"{source} lacks {name}, though it holds other tensors of {part}; fetch the whole "
                "file, or give model the sizes that it was trained with"
            )


def _part_of(name: str) -> str:
    """The part of the network that must be loaded as one: the history, a head, the ViT's blocks."""
    first, second, *_ = name.split(".")
    if first == "backbone":
        return f"{first}.{second}"
    return f"{first}.{second}" if second in BRANCHES.values() else first


def _summarise(names: Iterable[str]) -> str:
    """How many tensors of which parts."""
    parts = Counter(".".join(name.split(".")[:2]) for name in names)
    total = f"{sum(parts.values())} tensors" if parts else "nothing"
    return ": ".join([total, ", ".join(parts)]) if parts else total
