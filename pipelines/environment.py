"""Where a pipeline runs: an environment's YAML file as frozen, typed records, checked."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from trackline import records
from trackline.errors import ConfigError
from trackline.records import Count, Natural

STEPS = (
    "fetch",
    "index",
    "validate",
    "drift",
    "train",
    "evaluate",
    "gate",
    "register",
    "reject",
    "rest",
    "notify",
)
UNCACHED = ("fetch", "register", "reject", "rest", "notify")
MOUNT = "/mnt/trackline"

DIGEST = re.compile(r"[\w.:/-]+@sha256:[0-9a-f]{64}")
QUANTITY = re.compile(r"\d+(\.\d+)?(m|[KMGT]i?)?")
SECRET_NAME = re.compile(
    r"(?i)(password|passwd|secret|token|credential|api_?key|access_?key|webhook)"
)
SECRET_VALUE = re.compile(r"://[^/\s:@]+:[^/\s@]+@|AKIA[0-9A-Z]{16}|hooks\.slack\.com/services/")


@dataclass(frozen=True)
class Gpus:
    """Accelerators of a pod; `type` is the resource's name, such as nvidia.com/gpu."""

    count: Count
    type: str = ""

    def __post_init__(self) -> None:
        if not self.type:
            raise ConfigError(
                f"gpus.count is {self.count} and gpus.type is missing; Kubeflow gives a pod no GPU "
                "unless both are set: name the resource, for example nvidia.com/gpu"
            )


@dataclass(frozen=True)
class Toleration:
    """A taint that a pod puts up with."""

    key: str
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = "NoSchedule"


@dataclass(frozen=True)
class Secret:
    """A Kubernetes Secret by name; `keys` maps environment variables to keys of the Secret."""

    name: str
    keys: dict[str, str]
    steps: tuple[str, ...] = ()  # empty: every step


@dataclass(frozen=True)
class Settings:
    """One step's pod."""

    cpu: str = "1"
    memory: str = "2Gi"
    gpus: Gpus | None = None
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    shm: str | None = None
    retries: Natural = 2
    backoff_seconds: Natural = 60
    timeout_minutes: Count = 60
    cache: bool = True

    def __post_init__(self) -> None:
        for name in ("cpu", "memory", "shm"):
            value = getattr(self, name)
            if value is not None and not QUANTITY.fullmatch(value):
                raise ConfigError(
                    f"{name} is {value!r}; Kubernetes writes quantities like '2', '500m' or '16Gi'"
                )

    @property
    def threads(self) -> int:
        """How many threads each process may use: a pod sees its node's cores, not its own share."""
        cores = float(self.cpu[:-1]) / 1000 if self.cpu.endswith("m") else float(self.cpu)
        return max(1, int(cores) // (self.gpus.count if self.gpus else 1))


@dataclass(frozen=True)
class Training:
    """How training spreads: in its own pod, or over `nodes` nodes as a Trainer v2 TrainJob."""

    mode: Literal["pod", "trainjob"] = "pod"
    nodes: Count = 1
    runtime: str = "torch-distributed"
    namespace: str | None = None

    def __post_init__(self) -> None:
        if self.mode == "pod" and self.nodes > 1:
            raise ConfigError(
                f"training.nodes is {self.nodes} and training.mode is pod, which is one node; "
                "set training.mode to trainjob"
            )


@dataclass(frozen=True)
class Environment:
    """A cluster, as one file describes it; nothing in it changes a result."""

    image: str
    remote: str
    journal: str
    endpoint: str = ""
    namespace: str | None = None
    experiment: str = "trackline"
    service_account: str = "pipeline-runner"
    token_file: str | None = None
    ca_file: str | None = None
    volume: str | None = None
    checkpoints: str | None = None
    ui: str = ""
    secrets: tuple[Secret, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)
    image_pull_secrets: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    user: Count = 10001
    group: Count = 10001
    keep_hours: Count = 168
    deadline_hours: Count = 24
    training: Training = Training()
    steps: dict[str, Settings] = field(default_factory=dict)
    run_variable: bool = True

    def step(self, name: str) -> Settings:
        """The settings of a step; steps with effects outside the run are never cached."""
        found = self.steps.get(name, Settings())
        return dataclasses.replace(found, cache=False) if name in UNCACHED else found


def load(path: Path) -> Environment:
    """Read an environment; raises ConfigError with the key, the rule and the remedy."""
    import yaml

    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise ConfigError(
            f"{path} does not exist; copy one of {Path(__file__).parent}/environments"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    try:
        environment = records.parse(Environment, _spread_defaults(raw))
        check(environment)
    except ConfigError as error:
        raise ConfigError(f"{path.name}: {error}") from None
    return environment


def check(environment: Environment) -> None:
    """Refuse what would compile and then go wrong on the cluster; raises ConfigError."""
    _check_image(environment.image)
    _check_steps(environment)
    _check_secrets(environment)
    _check_storage(environment)


def _spread_defaults(raw: Any) -> Any:
    """Give each step what `steps.default` says and its own section does not."""
    if not isinstance(raw, Mapping) or not isinstance(raw.get("steps"), Mapping):
        return raw
    given = dict(raw["steps"])
    default = given.pop("default", None) or {}
    names = {**{step: {} for step in STEPS}, **given}
    return {**raw, "steps": {n: {**default, **(own or {})} for n, own in names.items()}}


def _check_image(image: str) -> None:
    if not DIGEST.fullmatch(image):
        raise ConfigError(
            f"image is {image!r}; name it by digest (NAME@sha256:…, which `podman push --digestfile` "
            "prints), because Kubeflow's cache takes the same name for the same program and a tag moves"
        )


def _check_steps(environment: Environment) -> None:
    named = [(n, "steps") for n in environment.steps]
    named += [(n, f"secrets[{s.name}].steps") for s in environment.secrets for n in s.steps]
    for name, where in named:
        if name not in STEPS:
            raise ConfigError(f"{where} names {name!r}; the steps are {', '.join(STEPS)}")
    for name, settings in environment.steps.items():
        if settings.timeout_minutes > environment.deadline_hours * 60:
            raise ConfigError(
                f"steps.{name}.timeout_minutes is {settings.timeout_minutes}, and deadline_hours ends the "
                f"whole run after {environment.deadline_hours}; raise deadline_hours"
            )


def _check_secrets(environment: Environment) -> None:
    for name in environment.variables:
        if SECRET_NAME.search(name):
            raise ConfigError(
                f"variables.{name} looks like a secret, and variables are readable in the compiled "
                "pipeline; put it in a Kubernetes Secret and name that under secrets"
            )
    for where, value in _list_texts(records.plain(environment)):
        if SECRET_VALUE.search(value):
            raise ConfigError(
                f"{where} holds a password or key, and everything here is readable in the compiled "
                "pipeline; put it in a Kubernetes Secret and name that under secrets"
            )


def _check_storage(environment: Environment) -> None:
    for name in ("journal", "remote", "checkpoints"):
        place = getattr(environment, name) or "none://"
        local = "://" not in place
        if local and not (environment.volume and place.startswith(f"{MOUNT}/")):
            raise ConfigError(
                f"{name} is {place!r}, a folder of a pod, which ends with the pod; use s3://BUCKET/PREFIX, "
                f"or set volume to a shared claim and use a folder below {MOUNT}/"
            )
    if environment.training.mode == "trainjob" and not environment.volume:
        raise ConfigError(
            "training.mode is trainjob and volume is not set; the nodes share footage, checkpoint and "
            "result through a ReadWriteMany claim: set volume to its name"
        )


def _list_texts(value: Any, where: str = "") -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return [t for k, v in value.items() for t in _list_texts(v, f"{where}.{k}".lstrip("."))]
    if isinstance(value, list | tuple):
        return [t for i, v in enumerate(value) for t in _list_texts(v, f"{where}[{i}]")]
    return [(where, value)] if isinstance(value, str) else []
