"""Weights made elsewhere: reference trackers (HIPTrack, DropTrack, OSTrack), MAE and timm ViTs.

Their names are translated to this project's, position embeddings are resized to its grids, and what
a file lacks keeps the network's own initialisation. Shapes: n tokens, c backbone width.
"""

from __future__ import annotations

import math
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trackline.data.clips import MEAN, STD
from trackline.errors import PackageError
from trackline.models.network import Network

State = dict[str, Tensor]
SUFFIXES = {".safetensors", ".pth", ".pt", ".tar", ".bin", ".ckpt"}
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

    def __str__(self) -> str:
        parts = sorted({".".join(name.split(".")[:2]) for name in self.initialised})
        fresh = f"; {', '.join(parts)} start afresh" if parts else ""
        return f"{len(self.mapped)} tensors taken, {len(self.left)} left{fresh}"


def initialise(network: Network, pretrained: str | None) -> Report | None:
    """Start from model.backbone.pretrained: a file, the name of a timm model, or None for nothing.

    Raises PackageError when there is no such file or model, or it does not fit.
    """
    if pretrained is None:
        return None
    if Path(pretrained).is_file() or Path(pretrained).suffix in SUFFIXES:
        return load_into(network, Path(pretrained))
    return load_state(network, fetch_timm(pretrained), pretrained)


def load_into(network: Network, path: Path) -> Report:
    """Load a checkpoint into a network; raises PackageError, the network unchanged, if it misfits."""
    return load_state(network, read_checkpoint(path), str(path))


def load_state(network: Network, state: Mapping[str, Tensor], source: str) -> Report:
    """Load named tensors, under the names of any tracker known here, into a network."""
    given = _fit_positions(_fit_temporal(rename_reference(state), network), network)
    own = network.state_dict()
    mapped = {name: tensor for name, tensor in given.items() if name in own}
    left = sorted(given.keys() - own.keys())
    _check_fit(mapped, left, own, source)
    network.load_state_dict(mapped, strict=False)
    return Report(tuple(sorted(mapped)), tuple(left), tuple(sorted(own.keys() - mapped.keys())))


def rename_reference(state: Mapping[str, Tensor]) -> State:
    """Translate names of reference trackers and bare ViTs; names unknown here stay as they are."""
    return {rename(name): tensor for name, tensor in state.items()}


def rename(name: str) -> str:
    """This project's name for a tensor of a reference tracker."""
    for pattern, replacement in RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def read_checkpoint(path: Path) -> State:
    """Read the tensors of a checkpoint, running none of the code a pickle may name.

    Raises PackageError when the file is missing, damaged or holds no state dict.
    """
    if not path.is_file():
        raise PackageError(
            f"{path} does not exist; model.backbone.pretrained names a file of weights or a timm model"
        )
    try:
        content = _read_safetensors(path) if path.suffix == ".safetensors" else _unpickle(path)
    except (pickle.UnpicklingError, RuntimeError, ValueError, OSError, EOFError, KeyError) as error:
        raise PackageError(
            f"{path} cannot be read as a checkpoint ({_first_line(error)}); fetch it again"
        ) from None
    for key in ("net", "model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not _is_state(content):
        raise PackageError(
            f"{path} holds no named tensors, neither under 'net' (trackers) nor 'model' (MAE) nor at "
            "its top; give the file that the training wrote"
        )
    return {name: _plain(tensor) for name, tensor in content.items()}


def fetch_timm(name: str) -> State:
    """Pretrained tensors of a timm ViT, made to expect images normalised as this project does."""
    import timm

    try:
        model = timm.create_model(name, pretrained=True, num_classes=0)
    except (RuntimeError, OSError, ValueError) as error:
        raise PackageError(
            f"model.backbone.pretrained is {name!r}, but timm gives no weights of that name "
            f"({_first_line(error)}); name a timm ViT, or a file if the network is out of reach"
        ) from None
    return fold_normalisation(model.state_dict(), **_statistics(model))


def fold_normalisation(
    state: State, mean: tuple[float, ...] = MEAN, std: tuple[float, ...] = STD
) -> State:
    """Move another normalisation of images into the patch embedding, which is linear, exactly."""
    if "patch_embed.proj.weight" not in state:
        return state
    weight = state["patch_embed.proj.weight"]
    scale, shift = (torch.tensor(v)[:, None, None] for v in (STD, MEAN))
    theirs, centre = (torch.tensor(v)[:, None, None] for v in (std, mean))
    bias = state["patch_embed.proj.bias"] + (weight * (shift - centre) / theirs).sum((1, 2, 3))
    folded = {"patch_embed.proj.weight": weight * scale / theirs, "patch_embed.proj.bias": bias}
    return {**state, **folded}


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


class _Placeholder:
    """Takes the place of a class that a checkpoint names, so that nothing foreign is imported."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


def _unpickle(path: Path) -> Any:
    scan = torch.serialization.get_unsafe_globals_in_checkpoint
    foreign = scan(path) if zipfile.is_zipfile(path) else []  # torch before 1.6 wrote no archive
    stand_ins: Any = [(_Placeholder, name) for name in foreign]
    with torch.serialization.safe_globals(stand_ins):
        return torch.load(path, map_location="cpu", weights_only=True)


def _read_safetensors(path: Path) -> State:
    import safetensors.torch
    from safetensors import SafetensorError

    try:
        return dict(safetensors.torch.load_file(path))
    except SafetensorError as error:
        raise ValueError(error) from None


def _is_state(content: Mapping[Any, Any]) -> bool:
    return len(content) > 0 and all(isinstance(value, Tensor) for value in content.values())


def _plain(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _statistics(model: Any) -> dict[str, tuple[float, ...]]:
    known = model.pretrained_cfg
    return {key: tuple(known[key]) for key in ("mean", "std") if key in known}


def _first_line(error: BaseException) -> str:
    if isinstance(error, pickle.UnpicklingError):  # torch's own text advises to run the code
        return "damaged, or it holds code, which is never run"
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
