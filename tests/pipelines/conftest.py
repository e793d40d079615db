"""A miniature project for the graph, and one whole run of it that several tests look at."""

from __future__ import annotations

import dataclasses
import inspect
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipelines import local
from pipelines.graph import Inputs
from pipelines.inputs import find_data_revision
from pipelines.local import Outcome
from trackline import config
from trackline.champion import Pin

ANYTHING: dict[str, Any] = {"min_ao": 0.0, "min_gain_over_static": -1.0, "min_template_gain": -1.0}


@dataclasses.dataclass(frozen=True)
class Project:
    """A working tree with footage under DVC, params and a registry of its own."""

    root: Path
    params: config.Params

    @property
    def remote(self) -> str:
        return str(self.root / ".dvc/cache")

    def run(self, root: str = "artifacts/kubeflow", **options: object) -> Outcome:
        """Run the graph here; `params` and `remote` may be others."""
        params = options.pop("params", self.params)
        remote = options.pop("remote", self.remote)
        assert isinstance(params, config.Params)
        inputs = Inputs(
            find_data_revision(), params, Pin("tracker"), bool(options.pop("on_drift", False))
        )
        return local.run(inputs, str(remote), root=Path(root), reuse=True, **options)  # type: ignore[arg-type]

    def gate(self, **thresholds: Any) -> config.Params:
        return dataclasses.replace(
            self.params, gate=dataclasses.replace(self.params.gate, **thresholds)
        )


@pytest.fixture(scope="session", autouse=True)
def stacks_without_sources() -> Iterator[None]:
    """kfp reads the source of every caller to learn one name, which takes a second a task below pytest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect, "stack", partial(inspect.stack, 0))
        yield


@pytest.fixture(scope="session")
def project(
    tmp_path_factory: pytest.TempPathFactory, world: Path, miniature: config.Params
) -> Project:
    root = tmp_path_factory.mktemp("kubeflow")
    shutil.copytree(world, root / "data")
    environment = os.environ | {"DVC_SITE_CACHE_DIR": str(root.with_name("site"))}
    for command in (("init", "--no-scm", "-q"), ("add", "-q", "data")):
        subprocess.run(
            (sys.executable, "-m", "dvc", *command), cwd=root, env=environment, check=True
        )
    gate = dataclasses.replace(miniature.gate, min_sequence_accuracy=0.0, **ANYTHING)
    data = dataclasses.replace(miniature.data, path="data")
    return Project(root, dataclasses.replace(miniature, gate=gate, data=data))


@pytest.fixture(autouse=True)
def at_home(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of the graph work in the project's root, without a registry of someone else's."""
    monkeypatch.chdir(project.root)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "TRACKLINE_WEBHOOK"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def accepted(project: Project) -> Outcome:
    """A run that the gates let pass."""
    before = Path.cwd()
    os.chdir(project.root)
    try:
        return project.run()
    finally:
        os.chdir(before)
