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

from tests.services.servers import BUCKET, KEYS, make_client
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
    assert rights.get("contents") in ("read", None) or flow == "promote"
    assert set(rights) <= {"contents", "id-token", "pull-requests"}
    assert "concurrency" in WORKFLOWS[flow]


def test_what_may_write_runs_no_code_of_a_pull_request() -> None:
    for job in WORKFLOWS["pull-request"]["jobs"].values():
        code = any("checkout" in step.get("uses", "") for step in job["steps"])
        rights = [n for n, right in job["permissions"].items() if right == "write"]
        assert set(rights) <= ({"id-token"} if code else {"pull-requests"})


def test_the_required_check_runs_always_and_waits_for_all_others() -> None:
    jobs = WORKFLOWS["pull-request"]["jobs"]
    assert jobs["accepted"]["if"] == "always()"
    assert set(jobs["accepted"]["needs"]) == jobs.keys() - {"accepted"}


@pytest.mark.parametrize(
    ("tests", "gates", "code"),
    [("success", "success", 0), ("success", "failure", 1), ("failure", "skipped", 1),
     ("success", "skipped", 1), ("success", "cancelled", 1)],
)  # fmt: skip
def test_only_two_successes_are_accepted(tests: str, gates: str, code: int) -> None:
    script = list_steps("pull-request", "accepted")[-1]["run"]
    environment = {"TESTS": tests, "GATES": gates, "PATH": os.environ["PATH"]}
    assert subprocess.run(("bash", "-ec", script), env=environment, check=False).returncode == code


def test_a_pin_reaches_a_main_that_has_moved_on_and_is_not_pushed_twice(tmp_path: Path) -> None:
    def run(folder: str, command: str) -> str:
        known = {
            **os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "REASON": "a start", "GITHUB_ACTOR": "ada",
        }  # fmt: skip
        line = ("bash", "-ec", command)
        return subprocess.check_output(line, cwd=tmp_path / folder, env=known, text=True)

    commit = "git -c user.name=eve -c user.email=eve@x commit -q"
    pin = f"make -s -f {ROOT}/.ci/promotion.mk ci-pin"
    run(".", "git init -q --bare --initial-branch=main remote.git && git clone -q remote.git eve")
    run("eve", f"echo 0 > champion.json && echo 0 > metrics.json && git add . && {commit} -m Start")
    run("eve", "git push -q origin HEAD:main")
    run(".", f"git clone -q --depth 1 file://{tmp_path}/remote.git promote")
    run("eve", f"echo 1 > code.py && git add . && {commit} -m Code && git push -q origin HEAD:main")
    run("promote", f"echo 1 > champion.json && echo 1 > metrics.json && {pin} && {pin}")
    log = run("remote.git", "git log --format='%an: %s' main")
    assert log.splitlines() == ["ada: Champion: a start", "eve: Code", "eve: Start"]
    assert run("remote.git", "git show main:champion.json main:metrics.json") == "1\n0\n"


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
        if job != "accepted":  # the comment and the verdict on the other jobs are GitHub's own
            runs = [s["run"] for s in list_steps(flow, job) if "run" in s]
            assert {r.removeprefix("make ") for r in runs} <= set(targets)


@dataclass
class Team:
    """A bare remote that everybody clones, an S3 bucket and an MLflow server."""

    root: Path
    environment: dict[str, str]

    def clone(self, name: str, branch: str = "main") -> Path:
        self.run(self.root, f"git clone -q --branch {branch} remote.git {name}")
        return self.equip(self.root / name)

    def equip(self, folder: Path) -> Path:
        """Give a clone this environment: setting one up is not what is tested here."""
        (folder / ".venv").symlink_to(Path(sys.prefix))
        (folder / ".git/info/exclude").write_text(".venv\n")
        for file in ("requirements.lock", "pyproject.toml"):
            os.utime(folder / file, (0, 0))
        return folder

    def run(self, folder: Path, command: str, code: int = 0, **extra: str) -> str:
        """Run a command; returns what it printed, and fails when its exit code is another."""
        path = f"{folder}/.venv/bin:{self.environment['PATH']}"
        environment = {**self.environment, "PYTHONPATH": str(folder), "PATH": path, **extra}
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

    def list_stages(self, output: str) -> list[str]:
        return re.findall(r"Running stage '(\w+)'", output)


@pytest.fixture(scope="module")
def team(
    tmp_path_factory: pytest.TempPathFactory,
    world: Path,
    miniature: config.Params,
    swift: str,
    mlflow_server: str,
) -> Team:
    """The project with a miniature configuration, pushed to a bare remote."""
    tmp_path = tmp_path_factory.mktemp("team")
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "AWS_", "GITHUB_"))},
        **KEYS,
        "MLFLOW_TRACKING_URI": mlflow_server,
        "DVC_REMOTE_URL": f"s3://{BUCKET}/dvc",
        "AWS_ENDPOINT_URL": swift,
        "DVC_SITE_CACHE_DIR": str(tmp_path / "site"),
        "TRACKLINE_CACHE": str(tmp_path / "cache"),
        "GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig"),
        "PATH": ":".join(p for p in os.environ["PATH"].split(":") if not p.startswith(sys.prefix)),
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
    made.equip(seed)
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
class TestFromCandidateToChampionAndBack:
    """By the workflows' own commands; each test goes on where the one before it ended."""

    def test_what_a_laptop_ran_does_not_run_again_for_its_pull_request(self, team: Team) -> None:
        author(team, "laptop1", "first", seed=1)
        ci = team.clone("pull-request1", "first")
        output = team.work("pull-request", "gate", ci)
        assert team.list_stages(output) == []
        assert "the gates passed" in output
        assert (ci / "reports/summary.md").stat().st_size > 100
        team.run(ci, "git push -q origin HEAD:main")

    def test_a_merge_registers_a_candidate_and_runs_nothing_else(self, team: Team) -> None:
        output = team.work("register", "register", team.clone("register1"))
        assert team.list_stages(output) == ["register"]
        assert "tracker version 1, candidate" in output

    def test_a_promotion_pins_the_champion_on_main(self, team: Team) -> None:
        reason = {"ACTION": "promote", "VERSION": "candidate", "REASON": "a start"}
        team.work("promote", "promote", team.clone("promote1"), **reason)
        assert team.read_pin()["version"] == 1

    def test_the_second_candidate_is_compared_with_the_first_champion(self, team: Team) -> None:
        author(team, "laptop2", "second", seed=2)
        ci = team.clone("pull-request2", "second")
        team.work("pull-request", "gate", ci)
        assert json.loads((ci / "metrics/gate.json").read_text())["champion_version"] == 1

    def test_a_pull_request_below_a_threshold_is_blocked_and_has_its_summary(
        self, team: Team
    ) -> None:
        refused = team.clone("pull-request3", "second")
        set_param(refused, "gate", min_ao=0.99)
        *before, verdict = list_commands("pull-request", "gate")
        for command in before:
            team.run(refused, command)
        assert "below gate.min_ao = 0.99" in team.run(refused, verdict, code=2)
        assert (refused / "reports/summary.md").exists()

    def test_the_second_candidate_takes_over(self, team: Team) -> None:
        team.run(team.root / "pull-request2", "git push -q origin HEAD:main")
        team.work("register", "register", team.clone("register2"))
        reason = {"ACTION": "promote", "VERSION": "candidate", "REASON": "follows better"}
        team.work("promote", "promote", team.clone("promote2"), **reason)
        assert team.read_pin()["version"] == 2

    def test_a_machine_with_the_library_alone_loads_it_by_name(
        self, team: Team, stranger: Path
    ) -> None:
        output = team.run(stranger, "trackline registry fetch tracker@champion out")
        assert "version 2 is in out/model, verified" in output
        assert "boat" in team.run(stranger, load("models:/tracker@champion"))
        assert "Owner: not stated" in (stranger / "out/evaluation/MODEL_CARD.md").read_text()
        for library in ("dvc", "kfp", "evidently", "great_expectations"):
            team.run(stranger, f"python -c 'import {library}'", code=1)

    def test_a_changed_byte_of_the_files_is_refused_by_name(
        self, team: Team, stranger: Path
    ) -> None:
        flip(stranger / "out/model/model.yaml")
        output = team.run(stranger, load("out/model"), code=1)
        assert "PackageError: out/model was altered: model.yaml does not match" in output

    def test_the_night_after_the_champion_holds(self, team: Team) -> None:
        assert "the gates passed" in team.work("nightly", "champion", team.clone("nightly1"))

    def test_a_changed_byte_in_the_storage_is_found_by_the_night_and_refused_to_all(
        self, team: Team, stranger: Path
    ) -> None:
        shown = json.loads(team.run(stranger, "trackline registry show champion --json"))
        corrupt(team.environment["AWS_ENDPOINT_URL"], shown["sha256"])
        *before, verify = list_commands("nightly", "champion")
        ci = team.clone("nightly2")
        for command in before:
            team.run(ci, command)
        assert "model.safetensors" in team.run(ci, verify, code=2)
        output = team.run(stranger, "trackline registry fetch champion again", 21)
        assert "model.safetensors no longer matches" in output
        assert not (stranger / "again").exists()

    def test_a_rollback_is_one_command(self, team: Team) -> None:
        reason = {"ACTION": "rollback", "REASON": "corrupt"}
        team.work("promote", "promote", team.clone("rollback"), **reason)
        assert team.read_pin()["version"] == 1

    def test_the_audit_trail_tells_the_story(self, team: Team, stranger: Path) -> None:
        trail = json.loads(team.run(stranger, "trackline registry audit --json"))
        assert [(m["kind"], m["from"], m["to"], m["why"]) for m in trail] == [
            ("promotion", None, 1, "a start"),
            ("promotion", 1, 2, "follows better"),
            ("rollback", 2, 1, "corrupt"),
        ]
        assert trail[0]["who"].startswith("ada")
        print(team.run(stranger, "trackline registry list && trackline registry audit"))

    def test_another_laptop_makes_the_champion_again_from_its_number(self, team: Team) -> None:
        clone = team.clone("again")
        output = team.run(clone, "make ci-restore && trackline registry reproduce 1 --json")
        again = json.loads(output[output.index("\n{") :])
        assert again["identical"] is True
        assert again["environment"] == {}


@pytest.fixture(scope="module")
def stranger(team: Team) -> Path:
    """A folder with an environment of its own that has Trackline from its source, and no more."""
    team.run(team.root, "git clone -q remote.git source && mkdir stranger")
    uv = f"{sys.executable} -m uv"
    team.run(team.root, f"{uv} venv -q stranger/.venv")
    team.run(team.root, f"{uv} pip install -q --python stranger/.venv/bin/python ./source")
    return team.root / "stranger"


def load(model: str) -> str:
    """The command that loads a model and prints its classes."""
    return f"python -c \"import trackline; print(trackline.load('{model}').classes)\""


def flip(file: Path) -> None:
    """Change one bit of a file."""
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def corrupt(address: str, sha256: str) -> None:
    """Change one byte of a version's weights where they are stored."""
    client = make_client(address)
    listed = client.list_objects_v2(Bucket=BUCKET, Prefix="models/")["Contents"]
    for key in (item["Key"] for item in listed if item["Key"].endswith("model/model.safetensors")):
        sums = client.get_object(Bucket=BUCKET, Key=key.replace("model.safetensors", "SHA256SUMS"))
        if hashlib.sha256(sums["Body"].read()).hexdigest() == sha256:
            weights = client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
            client.put_object(Bucket=BUCKET, Key=key, Body=weights[:-1] + bytes([weights[-1] ^ 1]))
            return
    raise AssertionError("the champion is not in the bucket")
