"""Checkpoints: everything a killed run needs to go on as if nothing had happened, without pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from trackline import artifacts
from trackline.training.loop import Trainer


def save(path: Path, trainer: Trainer, run: str) -> None:
    """Write the state of a trainer after an epoch; `run` is the digest of what defines the run."""
    record = {"run": run, "epoch": trainer.epoch, "rows": trainer.rows}
    with artifacts.replacing(path) as temporary:
        safetensors.torch.save_file(_collect(trainer), temporary, {"state": json.dumps(record)})


def resume(path: Path, trainer: Trainer, run: str) -> bool:
    """Bring a trainer to the state in `path`; False when there is none, or it is of another run."""
    if not path.is_file():
        return False
    try:
        with safe_open(path, framework="pt") as file:
            record = json.loads(file.metadata()["state"])
            if record["run"] != run:
                return False
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError):
        print(f"{path} cannot be read; training starts from the beginning")
        return False
    _restore(trainer, tensors)
    trainer.epoch, trainer.rows = record["epoch"], record["rows"]
    return True


def _collect(trainer: Trainer) -> dict[str, Tensor]:
    tensors = {f"network.{k}": v for k, v in trainer.network.state_dict().items()}
    if trainer.average is not None:
        tensors |= {f"average.{k}": v for k, v in trainer.average.state_dict().items()}
    for index, state in trainer.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{k}": v for k, v in state.items()}
    tensors["random.augmenter"] = trainer.augmenter.get_state()
    tensors["random.torch"] = torch.get_rng_state()
    if trainer.device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(trainer.device)
    return {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}


def _restore(trainer: Trainer, tensors: dict[str, Tensor]) -> None:
    trainer.network.load_state_dict(_below("network.", tensors))
    if trainer.average is not None:
        trainer.average.load_state_dict(_below("average.", tensors))
    states: dict[int, dict[str, Any]] = {}
    for name, value in _below("optimiser.", tensors).items():
        index, key = name.split(".")
        states.setdefault(int(index), {})[key] = value
    groups = trainer.optimiser.state_dict()["param_groups"]
    trainer.optimiser.load_state_dict({"state": states, "param_groups": groups})
    trainer.augmenter.set_state(tensors["random.augmenter"])
    torch.set_rng_state(tensors["random.torch"])
    if "random.cuda" in tensors and trainer.device.type == "cuda":
        torch.cuda.set_rng_state(tensors["random.cuda"], trainer.device)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
