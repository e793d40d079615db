"""The compiled pipeline: made, checked, and named by its content."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from pipelines.environment import MOUNT, SECRET_VALUE, UNCACHED, Environment
from pipelines.graph import Inputs, build
from trackline import artifacts
from trackline.errors import ConfigError


def compile_package(environment: Environment, inputs: Inputs, out: Path) -> Path:
    """Compile and check the pipeline; the same environment and inputs give the same bytes."""
    from kfp import compiler

    check_inputs(environment, inputs)
    with artifacts.replacing(out) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        compiler.Compiler().compile(build(environment, inputs), str(temporary))
        check(temporary.read_text(encoding="utf-8"), environment)
    return out


def read_documents(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The pipeline and its platform's part."""
    spec, platform = [*yaml.safe_load_all(text), {}][:2]
    return spec, platform


def name_version(package: Path) -> str:
    """A version's name: the digest of its content, so that nothing is uploaded twice."""
    return f"sha256-{hashlib.sha256(package.read_bytes()).hexdigest()[:12]}"


def check_inputs(environment: Environment, inputs: Inputs) -> None:
    """Refuse parameters that name files of this machine, which no pod sees; raises ConfigError."""
    uri, weights = inputs.params.registry.uri, inputs.params.model.pretrained
    given = {*environment.variables, *(key for one in environment.secrets for key in one.keys)}
    if uri.startswith("sqlite:") and "MLFLOW_TRACKING_URI" not in given:
        raise ConfigError(
            f"registry.uri is {uri}, a file of this machine, and a model registered there would end with the "
            "pod; set variables.MLFLOW_TRACKING_URI to the address of an MLflow server"
        )
    key = None if "TRACKLINE_TRUSTED_KEY" in given else inputs.params.registry.trust.key
    for name, file in {"model.pretrained": weights, "registry.trust.key": key}.items():
        if file and Path(file).exists() and not file.startswith(f"{MOUNT}/"):
            raise ConfigError(
                f"{name} is {file}, a file of this machine, which no pod sees; put it on the volume "
                f"and name it there, {MOUNT}/…"
            )


def check(text: str, environment: Environment) -> None:
    """Hold a compiled pipeline to the house's rules; raises ConfigError with the step and the remedy."""
    spec, _ = read_documents(text)
    for name, executor in spec["deploymentSpec"]["executors"].items():
        container = executor.get("container", {})
        script = " ".join([*container.get("command", []), *container.get("args", [])])
        if "pip install" in script:
            raise ConfigError(
                f"{name} would install packages when it runs, which a cluster without a package index "
                "cannot and a digest does not cover; put them into the image"
            )
        if container.get("image") != environment.image:
            raise ConfigError(
                f"{name} uses {container.get('image')}; every step runs {environment.image}"
            )
    for name, task in list_tasks(spec):
        if task["cachingOptions"].get("enableCache") and name in UNCACHED:
            raise ConfigError(
                f"{name} acts outside the run and must never be served from the cache"
            )
    if found := SECRET_VALUE.search(text):
        raise ConfigError(
            f"the compiled pipeline holds what looks like a password ({found.group()[:12]}…), and everyone "
            "who may see the pipeline may read it; put it in a Kubernetes Secret"
        )


def list_tasks(spec: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every task of the graph that runs a step, those in branches too, by its step's name."""
    graphs = [spec["root"], *spec["components"].values()]
    for graph in graphs:
        for name, task in graph.get("dag", {}).get("tasks", {}).items():
            component = spec["components"][task["componentRef"]["name"]]
            if "executorLabel" in component:
                yield name, task
