"""The whole line as DVC runs it, on a miniature: what a change touches runs again, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from trackline import artifacts, config, records

ROOT = Path(__file__).parents[1]
STEPS = ["index", "validate", "drift", "train", "evaluate", "gate", "register"]
CODE = ("components", "trackline")
FILES = ("dvc.yaml", "champion.json", ".dvcignore", ".gitignore")
ANYTHING_PASSES = {
    "min_ao": 0.0,
    "min_gain_over_static": -1.0,
    "min_template_gain": -1.0,
    "min_sequence_accuracy": 0.0,
}


class Project:
    """A clone of the project with a miniature of its data, network and training."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(root.with_name("site")),
            "GIT_CONFIG_GLOBAL": "/dev/null",
        }
        for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID"):
            self.environment.pop(variable, None)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def succeed(self, *command: str) -> str:
        done = self.run(*command)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def commit(self) -> None:
        self.succeed("git", "add", "-A")
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        self.succeed("git", *identity, "commit", "-qm", "state", "--allow-empty")

    def restore(self) -> None:
        self.succeed("git", "checkout", "-q", ".")
        self.succeed("dvc", "checkout", "-q")

    def read(self, name: str) -> Any:
        return json.loads((self.root / name).read_text())

    def set(self, section: str, **values: Any) -> None:
        path = self.root / "params.yaml"
        params = yaml.safe_load(path.read_text())
        params[section] |= values
        path.write_text(yaml.safe_dump(params))


def list_stages(output: str) -> list[str]:
    """The stages that a `dvc repro` ran."""
    return [
        line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")
    ]


@pytest.fixture(scope="module")
def project(
    tmp_path_factory: pytest.TempPathFactory, world: Path, miniature: config.Params
) -> Project:
    """A project whose pipeline ran once and is committed; its log is in `first.log`."""
    root = tmp_path_factory.mktemp("project")
    for name in CODE:
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, root / name)
    shutil.copytree(world, root / "demo")
    params = records.plain(miniature)
    params["data"]["path"] = "data"
    params["gate"] |= ANYTHING_PASSES
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    project = Project(root)
    project.succeed("git", "init", "-q")
    project.succeed("dvc", "init", "-q")
    project.succeed("dvc", "import-url", "-q", "demo", "data")
    project.succeed("dvc", "unfreeze", "data.dvc")
    project.commit()
    (root / "first.log").write_text(project.succeed("dvc", "repro"))
    project.commit()
    return project


def test_every_step_runs_and_a_model_is_registered(project: Project) -> None:
    assert list_stages((project.root / "first.log").read_text()) == STEPS
    registered = project.read("metrics/register.json")
    assert registered["version"] == 1
    assert registered["alias"] == "candidate"
    assert project.read("metrics/gate.json")["passed"] is True
    assert (project.root / "reports/index.html").stat().st_size > 1e6


def test_a_second_run_does_nothing_and_says_so(project: Project) -> None:
    assert "up to date" in project.succeed("dvc", "repro")
    assert project.succeed("git", "status", "--porcelain") == ""


def test_metrics_and_plots_are_dvc_s_too(project: Project) -> None:
    assert "ao" in project.succeed("dvc", "metrics", "show")
    plots = json.loads(project.succeed("dvc", "plots", "show", "--json"))
    assert any("losses" in name for name in plots["data"])


def test_the_registered_model_loads_by_its_alias(project: Project) -> None:
    code = "import trackline; print(trackline.load('models:/tracker@candidate').classes[0])"
    assert project.succeed(sys.executable, "-c", code).strip().endswith("boat")


def test_a_threshold_touches_gate_and_register_only(project: Project) -> None:
    project.set("gate", min_sequence_accuracy=0.001)
    try:
        assert list_stages(project.succeed("dvc", "repro")) == ["gate", "register"]
        changes = project.succeed("dvc", "params", "diff")
        assert "gate.min_sequence_accuracy" in changes
        assert project.read("metrics/register.json")["version"] == 1  # the same content
    finally:
        project.restore()


def test_a_rejected_model_leaves_the_reports_and_reaches_no_registry(project: Project) -> None:
    before = project.read("metrics/register.json")
    project.set("gate", min_ao=0.99)
    try:
        done = project.run("dvc", "repro")
        assert done.returncode != 0
        assert "error: " in done.stderr
        assert "gate.min_ao = 0.99" in done.stderr
        assert project.read("metrics/gate.json")["passed"] is False
        assert (project.root / "reports/index.html").exists()
        assert project.read("metrics/register.json") == before
        refused = project.run(sys.executable, "-m", "components.register")
        assert refused.returncode == 2
    finally:
        project.restore()


def test_an_experiment_with_another_parameter(project: Project) -> None:
    """`dvc exp run -S` trains anew and is compared with the committed run."""
    output = project.succeed("dvc", "exp", "run", "-S", "train.seed=7", "--name", "other")
    assert list_stages(output) == ["train", "evaluate", "gate", "register"]
    difference = json.loads(project.succeed("dvc", "metrics", "diff", "--json"))
    assert {"old", "new", "diff"} <= difference["metrics/evaluate.json"]["ao"].keys()
    assert project.read("metrics/register.json")["version"] == 2
    assert "other" in project.succeed("dvc", "exp", "show", "--csv")


def test_a_version_is_made_again_from_its_number_bit_by_bit(
    project: Project, tmp_path: Path
) -> None:
    """The experiment's: trained on changes that only the commit which DVC made of it holds."""
    folder = tmp_path / "again"
    command = ("trackline", "registry", "reproduce", "2", "--json", "--folder", str(folder))
    found = json.loads(project.succeed(*command))
    assert found["identical"] is True
    assert found["environment"] == {}
    assert {"model.safetensors", "model.yaml"} <= found["files"].keys()
    weights = artifacts.sha256(project.root / "artifacts/model/model.safetensors")
    assert found["files"]["model.safetensors"] == [weights, weights]
    assert config.load(folder / "params.yaml").train.seed == 7
