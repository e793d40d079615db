"""Checkpoints: everything a killed run needs to go on as if nothing had happened, without pickle.

Two files are kept, the newest and the one before it, each with a sum over its content: a disk that
filled up or lost a block costs the steps between them, not the run. Of several processes all take
part in saving and the first one writes; all read.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from trackline import artifacts
from trackline.errors import CheckpointError
from trackline.training.loop import Trainer

Tensors = dict[str, Tensor]
Found = tuple[dict[str, Any], Tensors]


def save(path: Path, trainer: Trainer, run: str) -> None:
    """Write the state of a trainer between two steps; `run` is the digest of what defines the run."""
    own = _collect_own(trainer)
    if not trainer.group.leads:
        return
    tensors = own | _collect(trainer)
    progress = {name: getattr(trainer, name) for name in ("epoch", "batch", "seconds", "rows")}
    record = {"run": run, "sha256": _sum(tensors), **progress}
    with artifacts.replacing(path) as temporary:
        safetensors.torch.save_file(tensors, temporary, {"state": json.dumps(record)})
        if path.is_file():
            path.replace(before(path))


def resume(path: Path, trainer: Trainer, run: str) -> bool:
    """Bring a trainer to the newest sound state of this run; False when there is none.

    A checkpoint of another run is passed over in silence, a damaged one is not. Raises
    CheckpointError where processes find different ones.
    """
    newest = _read(path, run, trainer.group.leads)
    found = newest or _read(before(path), run, trainer.group.leads)
    place = torch.tensor([found[0]["epoch"], found[0]["batch"]] if found else [-1, -1])
    if any(not torch.equal(place, other) for other in trainer.group.collect(place)):
        raise CheckpointError(
            f"the processes of this run find different checkpoints at {path}; put it on a disk that "
            "all of them see"
        )
    if found is None:
        return False
    if newest is None and trainer.group.leads:
        path.unlink(missing_ok=True)  # or the next save would put it in the sound one's place
    record, tensors = found
    _restore(trainer, tensors)
    for name in ("epoch", "batch", "seconds", "rows"):
        setattr(trainer, name, record[name])
    return True


def remove(path: Path) -> None:
    """Remove both files: the run has ended well."""
    for file in (path, before(path)):
        file.unlink(missing_ok=True)


def before(path: Path) -> Path:
    """Where the checkpoint before the newest is."""
    return path.with_stem(f"{path.stem}-before")


def _read(path: Path, run: str, loud: bool) -> Found | None:
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            record = json.loads(file.metadata()["state"])
            if record["run"] != run:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if _sum(tensors) == record["sha256"]:
            return record, tensors
        reason = "its content does not match its sum"
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        reason = str(error)
    if loud:
        print(
            f"warning: the checkpoint {path} is damaged ({reason}); falling back to the one before "
            "it, or else to the beginning",
            file=sys.stderr,
            flush=True,
        )
    return None


def _sum(tensors: Tensors) -> str:
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode())
        total.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _collect(trainer: Trainer) -> Tensors:
    tensors = {f"network.{k}": v for k, v in trainer.network.state_dict().items()}
    if trainer.average is not None:
        tensors |= {f"average.{k}": v for k, v in trainer.average.state_dict().items()}
    for index, state in trainer.optimiser.state_dict()["state"].items():
        held = {k: v for k, v in state.items() if isinstance(v, torch.Tensor)}
        tensors |= {f"optimiser.{index}.{k}": v for k, v in held.items()}
    tensors["augmenter"] = trainer.augmenter.get_state()
    return {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}


def _collect_own(trainer: Trainer) -> Tensors:
    """What each process has of its own, from all of them: sums of losses, states of dropout."""
    own = {"sums": trainer.sums, "torch": torch.get_rng_state()}
    if trainer.device.type == "cuda":
        own["cuda"] = torch.cuda.get_rng_state(trainer.device)
    collected = {name: trainer.group.collect(value) for name, value in own.items()}
    return {f"process.{i}.{k}": v for k, all_ in collected.items() for i, v in enumerate(all_)}


def _restore(trainer: Trainer, tensors: Tensors) -> None:
    trainer.network.load_state_dict(_below("network.", tensors))
    if trainer.average is not None:
        trainer.average.load_state_dict(_below("average.", tensors))
    states: dict[int, dict[str, Any]] = {}
    weights = [p for group in trainer.optimiser.param_groups for p in group["params"]]
    for name, value in _below("optimiser.", tensors).items():
        index, key = name.split(".")
        weight = weights[int(index)]
        # laid out alike: fused steps go through both as they lie
        alike = value.shape == weight.shape
        restored = torch.empty_like(weight).copy_(value) if alike else value
        states.setdefault(int(index), {})[key] = restored
    groups = trainer.optimiser.state_dict()["param_groups"]
    trainer.optimiser.load_state_dict({"state": states, "param_groups": groups})
    trainer.augmenter.set_state(tensors["augmenter"])
    sums = [v for k, v in tensors.items() if k.endswith(".sums")]
    if len(sums) != trainer.group.size:  # dropout goes on from this process's seed
        trainer.sums = torch.stack(sums).mean(0).to(trainer.device)
        return
    own = _below(f"process.{trainer.group.rank}.", tensors)
    trainer.sums = own["sums"].to(trainer.device)
    torch.set_rng_state(own["torch"])
    if "cuda" in own and trainer.device.type == "cuda":
        torch.cuda.set_rng_state(own["cuda"], trainer.device)


def _below(prefix: str, tensors: Tensors) -> Tensors:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
