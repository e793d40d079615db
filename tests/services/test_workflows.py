"""The workflows: what they may do, and their own commands run in order against real services."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.services.conftest import BUCKET, KEYS, make_client
from trackline import config, records

ROOT = Path(__file__).parents[2]
WORKFLOWS = {
    path.stem: yaml.safe_load(path.read_text())
    for path in sorted((ROOT / ".github/workflows").glob("*.yml"))
}
JOBS = [(name, job) for name, flow in WORKFLOWS.items() for job in flow["jobs"]]
ANYTHING_PASSES = {
    "min_ao": 0.0,
    "min_gain_over_static": -1.0,
    "min_template_gain": -1.0,
    "min_sequence_accuracy": 0.0,
    "champion_margin_ao": 1.0,
    "champion_margin_accuracy": 1.0,
}


def list_steps(flow: str, job: str) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = WORKFLOWS[flow]["jobs"][job]["steps"]
    return steps


def list_commands(flow: str, job: str) -> list[str]:
    """The make targets that a job runs, in order; the comment on the pull request needs GitHub."""
    return [s["run"] for s in list_steps(flow, job) if s.get("run", "").startswith("make ")]


@pytest.mark.parametrize(("flow", "job"), JOBS)
def test_a_job_has_only_the_rights_that_it_names(flow: str, job: str) -> None:
    assert WORKFLOWS[flow]["permissions"] == {}
    rights = WORKFLOWS[flow]["jobs"][job]["permissions"]
    assert rights["contents"] == ("write" if flow == "promote" else "read")
    assert set(rights) <= {"contents", "id-token", "pull-requests"}
    assert "concurrency" in WORKFLOWS[flow]


@pytest.mark.parametrize(("flow", "job"), JOBS)
def test_actions_are_pinned_and_there_are_no_cloud_keys(flow: str, job: str) -> None:
    for step in list_steps(flow, job):
        if "uses" in step:
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step["uses"])
    text = json.dumps(WORKFLOWS[flow])
    assert "secrets.AWS" not in text
    assert "access-key" not in text


def test_only_one_job_at_a_time_writes_the_registry() -> None:
    groups = [WORKFLOWS[name]["concurrency"] for name in ("register", "promote")]
    assert groups == [{"group": "registry", "cancel-in-progress": False}] * 2
    assert WORKFLOWS["promote"]["jobs"]["promote"]["environment"] == "production"


def test_what_a_workflow_runs_is_a_make_target() -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / ".ci/promotion.mk").read_text(), re.M)
    targets += re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    for flow, job in JOBS:
        runs = [s["run"] for s in list_steps(flow, job) if "run" in s]
        assert {r.removeprefix("make ") for r in runs if not r.startswith("gh ")} <= set(targets)


@dataclass
class Team:
    """A bare remote that everybody clones, an S3 bucket and an MLflow server."""

    root: Path
    environment: dict[str, str]

    def clone(self, name: str, branch: str = "main") -> Path:
        folder = self.root / name
        self.run(self.root, f"git clone -q --branch {branch} remote.git {name}")
        (folder / ".venv").symlink_to(Path(sys.prefix))  # set up already: not what is tested here
        (folder / ".git/info/exclude").write_text(".venv\n")
        for file in ("requirements.lock", "pyproject.toml"):
            os.utime(folder / file, (0, 0))
        return folder

    def run(self, folder: Path, command: str, code: int = 0, **extra: str) -> str:
        """Run a command; returns what it printed, and fails when its exit code is another."""
        environment = {**self.environment, "PYTHONPATH": str(folder), **extra}
        done = subprocess.run(
            command, shell=True, cwd=folder, env=environment, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == code, f"{command}\n{done.stdout}"
        return done.stdout

    def work(self, flow: str, job: str, folder: Path, **extra: str) -> str:
        """Run a job's commands in order, as the workflow has them."""
        return "".join(self.run(folder, c, 0, **extra) for c in list_commands(flow, job))

    def push(self, folder: Path, message: str, branch: str) -> None:
        self.run(
            folder, f"git add -A && git commit -qm '{message}' && git push -q origin HEAD:{branch}"
        )

    def read_pin(self) -> Any:
        return json.loads(self.run(self.root / "remote.git", "git show main:champion.json"))

    def count_stages(self, output: str) -> list[str]:
        return re.findall(r"Running stage '(\w+)'", output)


@pytest.fixture
def team(
    tmp_path: Path, world: Path, miniature: config.Params, s3: str, mlflow_server: str
) -> Team:
    """The project with a miniature configuration, pushed to a bare remote."""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "AWS_", "GITHUB_"))},
        **KEYS,
        "MLFLOW_TRACKING_URI": mlflow_server,
        "DVC_REMOTE_URL": f"s3://{BUCKET}/dvc",
        "AWS_ENDPOINT_URL": s3,
        "DVC_SITE_CACHE_DIR": str(tmp_path / "site"),
        "TRACKLINE_CACHE": str(tmp_path / "cache"),
        "GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MAKEFLAGS": "",
        "GITHUB_ACTOR": "ada",
    }
    (tmp_path / "gitconfig").write_text("[user]\nname = ada\nemail = ada@example.org\n")
    made = Team(tmp_path, environment)
    seed = tmp_path / "seed"
    tracked = ("git", "ls-files", "--cached", "--others", "--exclude-standard")
    for name in subprocess.check_output(tracked, cwd=ROOT, text=True).splitlines():
        if (ROOT / name).is_file() and not name.startswith(("demo/", "tests/")):
            (seed / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, seed / name)
    shutil.copytree(world, seed / "demo")
    params = records.plain(miniature)
    params["data"]["path"] = "data"
    params["gate"] |= ANYTHING_PASSES
    params["registry"]["name"] = "tracker"
    (seed / "params.yaml").write_text(yaml.safe_dump(params))
    made.run(tmp_path, "git init -q --bare --initial-branch=main remote.git")
    made.run(seed, "git init -q --initial-branch=main && git remote add origin ../remote.git")
    made.run(seed, "dvc import-url -q --force demo data && dvc unfreeze data.dvc")
    made.push(seed, "Start", "main")
    return made


def set_param(folder: Path, section: str, **values: Any) -> None:
    """Edit params.yaml."""
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params[section] |= values
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


def author(team: Team, name: str, branch: str, seed: int) -> None:
    """What a person does on a laptop: change a parameter, run, push results to S3 and a commit to git."""
    laptop = team.clone(name)
    set_param(laptop, "train", seed=seed)
    team.run(laptop, "make ci-restore ci-gate")
    team.run(laptop, "dvc push -q --run-cache")
    team.push(laptop, f"Seed {seed}", branch)


@pytest.mark.promotion
def test_from_candidate_to_champion_and_back_by_the_workflows_own_commands(
    team: Team, s3: str
) -> None:
    author(team, "laptop1", "first", seed=1)

    # a pull request: nothing that the laptop ran runs again, the gates pass, the summary is there
    ci = team.clone("pull-request1", "first")
    output = team.work("pull-request", "gate", ci)
    assert team.count_stages(output) == []
    assert "the gates passed" in output
    assert (ci / "reports/summary.md").stat().st_size > 100

    # merged: main registers it, and only that step runs
    team.run(ci, "git push -q origin HEAD:main")
    output = team.work("register", "register", team.clone("register1"))
    assert team.count_stages(output) == ["register"]
    assert "tracker version 1, candidate" in output

    # promoted, and the pin is on main
    reason = {"ACTION": "promote", "VERSION": "candidate", "REASON": "a start"}
    team.work("promote", "promote", team.clone("promote1"), **reason)
    assert team.read_pin()["version"] == 1

    # the second candidate is compared with the first champion
    author(team, "laptop2", "second", seed=2)
    ci = team.clone("pull-request2", "second")
    team.work("pull-request", "gate", ci)
    assert json.loads((ci / "metrics/gate.json").read_text())["champion_version"] == 1

    # a pull request that fails its gates blocks, with one sentence, and leaves its summary
    refused = team.clone("pull-request3", "second")
    set_param(refused, "gate", min_ao=0.99)
    *before, verdict = list_commands("pull-request", "gate")
    for command in before:
        team.run(refused, command)
    assert "below gate.min_ao = 0.99" in team.run(refused, verdict, code=2)
    assert (refused / "reports/summary.md").exists()

    team.run(ci, "git push -q origin HEAD:main")
    team.work("register", "register", team.clone("register2"))
    reason = {"ACTION": "promote", "VERSION": "candidate", "REASON": "follows better"}
    team.work("promote", "promote", team.clone("promote2"), **reason)
    assert team.read_pin()["version"] == 2

    # fetched by name on a machine that has nothing of the project
    stranger = team.root / "stranger"
    stranger.mkdir()
    team.run(stranger, "trackline registry fetch tracker@champion out", PYTHONPATH=str(ROOT))
    assert (stranger / "out/model/model.safetensors").exists()

    # the night after: the champion still loads, has its sums and passes
    assert "the gates passed" in team.work("nightly", "champion", team.clone("nightly1"))

    # a byte of it is corrupted in storage: the night finds it, by name
    shown = team.run(stranger, "trackline registry show champion --json", PYTHONPATH=str(ROOT))
    corrupt(s3, json.loads(shown)["sha256"])
    *before, verify = list_commands("nightly", "champion")
    ci = team.clone("nightly2")
    for command in before:
        team.run(ci, command)
    assert "model.safetensors" in team.run(ci, verify, code=2)
    output = team.run(stranger, "trackline registry fetch champion again", 21, PYTHONPATH=str(ROOT))
    assert "model.safetensors no longer matches" in output
    assert not (stranger / "again").exists()

    # and back, in one command
    reason = {"ACTION": "rollback", "REASON": "corrupt"}
    team.work("promote", "promote", team.clone("rollback"), **reason)
    assert team.read_pin()["version"] == 1
    trail = json.loads(team.run(stranger, "trackline registry audit --json", PYTHONPATH=str(ROOT)))
    assert [(m["kind"], m["from"], m["to"], m["why"]) for m in trail] == [
        ("promotion", None, 1, "a start"),
        ("promotion", 1, 2, "follows better"),
        ("rollback", 2, 1, "corrupt"),
    ]
    assert trail[0]["who"].startswith("ada")


def corrupt(s3: str, sha256: str) -> None:
    """Change one byte of a version's weights where they are stored."""
    client = make_client(s3)
    listed = client.list_objects_v2(Bucket=BUCKET, Prefix="models/")["Contents"]
    for key in (item["Key"] for item in listed if item["Key"].endswith("model/model.safetensors")):
        sums = client.get_object(Bucket=BUCKET, Key=key.replace("model.safetensors", "SHA256SUMS"))
        if hashlib.sha256(sums["Body"].read()).hexdigest() == sha256:
            weights = client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
            client.put_object(Bucket=BUCKET, Key=key, Body=weights[:-1] + bytes([weights[-1] ^ 1]))
            return
    raise AssertionError("the champion is not in the bucket")
