"""Model packages: weights as safetensors, their description as YAML, sums over all of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import yaml

from trackline import artifacts, config, records
from trackline.data.clips import MEAN, STD
from trackline.errors import PackageError
from trackline.models.network import Network

WEIGHTS, DESCRIPTION, LINEAGE, CARD, PROFILE, SBOM = (
    "model.safetensors",
    "model.yaml",
    "lineage.json",
    "MODEL_CARD.md",
    "profile.json",
    "sbom.cdx.json",
)
FORMAT = 1


@dataclass(frozen=True)
class Package:
    """A model as it is stored: the network, its classes, and how it wants to be tracked with."""

    network: Network
    classes: tuple[str, ...]
    track: config.Track
    lineage: dict[str, Any]


def save(folder: Path, package: Package, card: str, extras: dict[str, bytes] | None = None) -> str:
    """Write a package, whole or not at all; return the hash of its sums.

    `extras` are further files, by name (the profile of the training data, say).
    """
    with artifacts.replacing_folder(folder) as new:
        state = {k: v.detach().cpu().contiguous() for k, v in package.network.state_dict().items()}
        safetensors.torch.save_file(state, new / WEIGHTS)
        artifacts.write_text(new / DESCRIPTION, describe(package))
        artifacts.write_json(new / LINEAGE, package.lineage)
        artifacts.write_text(new / CARD, card)
        for name, content in (extras or {}).items():
            (new / name).write_bytes(content)
        return artifacts.write_sums(new)


def describe(package: Package) -> str:
    """The text of model.yaml: architecture, classes, preprocessing."""
    record = {
        "format": FORMAT,
        "model": records.plain(package.network.config),
        "classes": list(package.classes),
        "track": records.plain(package.track),
        "preprocessing": {
            "channels": "RGB",
            "scale": "1/255",
            "mean": list(MEAN),
            "std": list(STD),
        },
    }
    return yaml.safe_dump(record, sort_keys=False)


@dataclass(frozen=True)
class Description:
    """What model.yaml says."""

    model: config.Model
    classes: tuple[str, ...]
    track: config.Track


def read_description(folder: Path) -> Description:
    """Read model.yaml of a package; raises PackageError where its format is of another version."""
    record = yaml.safe_load((folder / DESCRIPTION).read_text(encoding="utf-8"))
    if record.get("format") != FORMAT:
        raise PackageError(
            f"{folder / DESCRIPTION} has format {record.get('format')}; this version reads {FORMAT}"
        )
    model = records.parse(config.Model, record["model"], "model")
    track = records.parse(config.Track, record["track"], "track")
    return Description(model, tuple(record["classes"]), track)


def load(folder: Path, device: str | torch.device = "cpu") -> Package:
    """Verify a package and build its network; raises PackageError with the file and the reason."""
    artifacts.verify(folder)
    known = read_description(folder)
    network = Network(known.model, len(known.classes))
    state = safetensors.torch.load_file(folder / WEIGHTS, device=str(device))
    try:
        network.to(device).load_state_dict(state)
    except RuntimeError as error:
        raise PackageError(f"{folder / WEIGHTS} does not fit {DESCRIPTION}: {error}") from None
    lineage = artifacts.read_json(folder / LINEAGE)
    return Package(network.eval(), known.classes, known.track, lineage)
