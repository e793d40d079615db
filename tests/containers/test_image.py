"""The image, built before by `make image`: the graph in containers of it, asserting on what they leave."""

from __future__ import annotations

import dataclasses
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch

from pipelines import local
from pipelines.environment import STEPS
from pipelines.graph import Inputs
from pipelines.inputs import find_data_revision
from trackline import artifacts, config
from trackline.champion import Pin
from trackline.models.network import Network

IMAGE = os.environ.get("IMAGE", "localhost/trackline:latest")


pytestmark = pytest.mark.skipif("IMAGE" not in os.environ, reason="minutes: make image-test")


def find_image() -> Any:
    """The engine's entry for the image; the tests skip with the reason where there is none."""
    docker = pytest.importorskip("docker")
    try:
        client = docker.from_env()
        return client.images.get(IMAGE)
    except docker.errors.DockerException as error:
        pytest.skip(f"no engine with {IMAGE}, run make image ({str(error)[:80]})")


@pytest.fixture(scope="module")
def image() -> Any:
    return find_image()


def test_it_names_its_revision_and_is_not_root(image: Any) -> None:
    settings = image.attrs["Config"]
    assert len(settings["Labels"]["org.opencontainers.image.revision"]) == 40
    assert settings["User"] == "10001:10001"
    variables = dict(entry.split("=", 1) for entry in settings["Env"])
    assert variables["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert not any("TOKEN" in name or "PASSWORD" in name for name in variables)


def test_it_holds_no_tools_of_developers(image: Any) -> None:
    import docker

    code = "import importlib.util as u; print([m for m in ('pytest', 'mypy', 'moto') if u.find_spec(m)])"
    said = docker.from_env().containers.run(
        IMAGE, ["python3", "-c", code], remove=True, read_only=True, network_mode="host"
    )
    assert said.strip() == b"[]"


@pytest.fixture
def project(
    tmp_path: Path, world: Path, miniature: config.Params, monkeypatch: pytest.MonkeyPatch
) -> Inputs:
    """A project with the miniature's footage under DVC and a file of weights, as the working directory."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(world, tmp_path / "data")
    for command in (("init", "--no-scm", "-q"), ("add", "-q", "data")):
        subprocess.run((sys.executable, "-m", "dvc", *command), check=True)
    gate = dataclasses.replace(
        miniature.gate, min_ao=0.0, min_gain_over_static=-1.0, min_template_gain=-1.0,
        min_sequence_accuracy=0.0,
    )  # fmt: skip
    network = Network(miniature.model, len(miniature.data.classes))
    safetensors.torch.save_file(network.state_dict(), "vit.safetensors")
    params = dataclasses.replace(
        miniature, gate=gate, data=dataclasses.replace(miniature.data, path="data"),
        model=dataclasses.replace(miniature.model, pretrained="vit.safetensors"),
    )  # fmt: skip
    return Inputs(find_data_revision(), params, Pin("tracker"))


def test_the_graph_runs_in_containers(image: Any, project: Inputs, tmp_path: Path) -> None:
    """With a read-only root; the runner's own word for the outcome is not asked."""
    outcome = local.run(project, str(tmp_path / ".dvc/cache"), image=IMAGE)
    outcome.check()
    assert outcome.steps[-1] == "register"
    model = next(outcome.folder.glob("trackline-*/train/trained"))
    artifacts.verify(model)
    assert next(outcome.folder.glob("trackline-*/register/version")).stat().st_size > 0
    lineage = artifacts.read_json(model / "lineage.json")
    assert (
        lineage["git"]["revision"]
        == image.attrs["Config"]["Labels"]["org.opencontainers.image.revision"]
    )
    left = [*tmp_path.glob("artifacts/**/*"), *tmp_path.glob("registry/**/*")]
    assert {path.stat().st_uid for path in left} == {
        os.getuid()
    }  # whoever asked owns what came of it
    assert [path for path in left if path.stat().st_mode & stat.S_IWOTH] == []


def test_every_step_loads_as_the_image_s_own_user(image: Any) -> None:
    """As on a cluster: no root, and nothing to write to but /tmp."""
    import docker

    steps = ", ".join(f"components.{name}" for name in STEPS if name != "rest")
    said = docker.from_env().containers.run(
        IMAGE, ["python3", "-c", f"import os, pipelines.steps, {steps}; print(os.getuid())"],
        remove=True, read_only=True, tmpfs={"/tmp": ""}, network_mode="host",
    )  # fmt: skip
    assert said.split()[-1] == b"10001"
