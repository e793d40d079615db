"""params.yaml as frozen, typed records, each default the reference's or a person's choice."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from trackline import records
from trackline.config.data import Data, Drift, Layout, Shares, Validate
from trackline.config.evaluation import (
    Ceilings,
    Evaluate,
    Floors,
    Gate,
    Protocol,
    SliceGates,
    Track,
)
from trackline.config.model import Backbone, ClassHead, Crop, Elimination, History, Model, Quirk
from trackline.config.training import Augment, Jitter, Train
from trackline.errors import ConfigError

__all__ = [
    "Augment",
    "Backbone",
    "Card",
    "Ceilings",
    "ClassHead",
    "Crop",
    "Data",
    "Drift",
    "Elimination",
    "Evaluate",
    "Floors",
    "Gate",
    "History",
    "Jitter",
    "Layout",
    "Model",
    "Params",
    "Protocol",
    "Quirk",
    "Registry",
    "Shares",
    "SliceGates",
    "Track",
    "Train",
    "Trust",
    "Validate",
    "load",
]


@dataclass(frozen=True)
class Card:
    """What only a person knows of a model; it stands in the card of every registered version."""

    owner: str | None = None
    weights_licence: str | None = None
    data_licence: str | None = None
    excluded_uses: str | None = None


@dataclass(frozen=True)
class Trust:
    """Who must have signed what is fetched: a key's owner, or an identity that an issuer vouches for."""

    key: str | None = None
    identity: str | None = None
    issuer: str | None = None

    def __post_init__(self) -> None:
        if self.key and self.identity:
            raise ConfigError(
                f"registry.trust names the key {self.key} and the identity {self.identity}; keep one of them"
            )
        if bool(self.identity) != bool(self.issuer):
            raise ConfigError(
                f"registry.trust has identity {self.identity} and issuer {self.issuer}; give both, as "
                "anybody's issuer could otherwise vouch for that name"
            )


@dataclass(frozen=True)
class Registry:
    """Where accepted models go; MLFLOW_TRACKING_URI, when set, wins over `uri`."""

    name: str = "tracker"
    uri: str = "sqlite:///registry/mlflow.db"
    trust: Trust = field(default_factory=Trust)
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


def find_registry() -> Registry:
    """The registry of the project in the working directory; the default one where there is no project.

    Other programs have a params.yaml too; one with a champion.json beside it is ours.
    """
    params, pin = Path("params.yaml"), Path("champion.json")
    return load(params).registry if params.exists() and pin.exists() else Registry()


def load(path: Path = Path("params.yaml")) -> Params:
    """Read params.yaml; raises ConfigError with the key, the rule and the remedy."""
    if not path.is_file():
        raise ConfigError(f"{path} does not exist; run from the project's root or pass --params")
    return records.read(Params, path)
