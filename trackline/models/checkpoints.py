"""Files of weights, read without running any code that they may name.

A pickle can name functions to call; what is neither a tensor nor a plain value is replaced by an
empty stand-in. Shapes: c channels of the patch embedding.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trackline import artifacts
from trackline.data.clips import MEAN, STD
from trackline.errors import PackageError
from trackline.models.package import WEIGHTS

State = dict[str, Tensor]
SUFFIXES = {".safetensors", ".pth", ".pt", ".tar", ".bin", ".ckpt"}


def read_source(source: str | Path) -> State:
    """Tensors of a file of weights, of a model package (verified), or of a timm model by its name.

    Raises PackageError when there is no such thing or it cannot be read.
    """
    path = Path(source)
    if path.is_dir():
        artifacts.verify(path)
        return read_checkpoint(path / WEIGHTS)
    if path.is_file() or path.suffix in SUFFIXES:
        return read_checkpoint(path)
    return fetch_timm(str(source))


def read_checkpoint(path: Path) -> State:
    """Read the tensors of a checkpoint, running none of the code a pickle may name.

    Raises PackageError when the file is missing, damaged or holds no state dict.
    """
    if not path.is_file():
        raise PackageError(
            f"{path} does not exist; give a file of weights, a model package or the name of a timm model"
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
    return {name.removeprefix("module."): _plain(tensor) for name, tensor in content.items()}


def fetch_timm(name: str) -> State:
    """Pretrained tensors of a timm ViT, made to expect images normalised as this project does."""
    import timm

    try:
        model = timm.create_model(name, pretrained=True, num_classes=0)
    except (RuntimeError, OSError, ValueError) as error:
        raise PackageError(
            f"{name!r} is neither a file nor a package, and timm gives no weights of that name "
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
