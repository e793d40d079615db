"""The real client, through every command, against a server that knows the API."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pipelines import schedules
from tests.pipelines.kubeflow_server import Description, Kubeflow, serve
from tests.services import servers
from trackline.cli import main
from trackline.errors import ConfigError

ROOT = Path(__file__).parents[2]
SWAGGER = Path(
    os.environ.get("KUBEFLOW_API")
    or ROOT.parent / "shared/kubeflow/kfp_api_v2beta1_2.17.0.swagger.json"
)
REVISION = "e807f842e3a1fa97e23ab2052d278d08.dir"

pytestmark = pytest.mark.skipif(
    not SWAGGER.is_file(), reason="Kubeflow's API description is not here; name it in KUBEFLOW_API"
)


@pytest.fixture(scope="module")
def description() -> Description:
    return Description(SWAGGER)


@pytest.fixture
def kubeflow(description: Description, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kubeflow]:
    server = Kubeflow(description)
    for name in ("KF_PIPELINES_TOKEN", "KF_PIPELINES_COOKIES", "KF_PIPELINES_SA_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(ROOT)
    with serve(server) as address:
        monkeypatch.setenv("KF_PIPELINES_ENDPOINT", address)
        yield server
    assert server.broken == []


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """An environment file."""
    content = yaml.safe_load((ROOT / "pipelines/environments/example.yaml").read_text())
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content | {"token_file": str(tmp_path / "token")}))
    (tmp_path / "token").write_text("first")
    return path


def pipeline(*arguments: object) -> int:
    return main(["pipeline", *map(str, arguments)])


def test_a_run_uploads_what_is_new_and_starts_it(
    kubeflow: Kubeflow, cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert pipeline("run", "-e", cluster, "--data-rev", REVISION) == 0
    assert len(kubeflow.versions) == 1
    assert len(kubeflow.runs) == 2
    version = next(iter(kubeflow.versions.values()))
    assert version["display_name"].startswith("sha256-")
    run = next(iter(kubeflow.runs.values()))
    assert run["service_account"] == "pipeline-runner"
    assert pipeline("status", "-e", cluster) == 0
    assert capsys.readouterr().out.count("RUNNING") == 2


def test_a_dry_run_changes_nothing(
    kubeflow: Kubeflow, cluster: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "schedules.yaml"
    file.write_text("schedules: {nightly: {cron: 0 0 2 * * *}}")
    assert pipeline("run", "-e", cluster, "--data-rev", REVISION, "--dry-run") == 0
    assert pipeline("schedule", "apply", file, "-e", cluster, "--dry-run") == 0
    assert kubeflow.changes == []
    printed = capsys.readouterr().out
    assert "would be uploaded" in printed
    assert "would create   nightly" in printed


def test_schedules_become_what_the_file_says(
    kubeflow: Kubeflow, cluster: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "schedules.yaml"

    def apply(text: str) -> list[str]:
        file.write_text(f"schedules: {{{text}}}")
        assert pipeline("schedule", "apply", file, "-e", cluster) == 0
        return [line.split()[0] for line in capsys.readouterr().out.splitlines() if "  " in line]

    nightly = "nightly: {cron: 0 0 2 * * *%s}"
    assert apply(nightly % "") == ["create"]
    made = next(iter(kubeflow.recurring.values()))
    assert made["no_catchup"] is True
    assert made["max_concurrency"] in (1, "1")
    asked = len(kubeflow.changes)
    assert apply(nightly % "") == ["keep"]
    assert all("experiments" in path for _, path in kubeflow.changes[asked:])
    assert apply(nightly % ", enabled: false") == ["pause"]
    assert next(iter(kubeflow.recurring.values()))["status"] == "DISABLED"
    assert apply(nightly % "") == ["resume"]
    changed = ", set: {train.epochs: '60'}"
    assert apply(nightly % changed) == ["replace"]
    assert len(kubeflow.recurring) == 1
    assert len(kubeflow.versions) == 2
    kubeflow.recurring["theirs"] = {**made, "recurring_run_id": "theirs", "description": "by hand"}
    assert apply("") == ["delete"]
    assert list(kubeflow.recurring) == ["theirs"]


def test_the_token_file_is_read_again_when_it_rotates(
    kubeflow: Kubeflow, cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kubeflow.token = "second"
    assert pipeline("status", "-e", cluster) == 1
    said = capsys.readouterr().err
    assert "401" in said
    assert "token_file" in said
    assert "first" not in said
    cluster.with_name("token").write_text("second")
    assert pipeline("status", "-e", cluster) == 0


def test_a_token_that_rotates_while_a_command_runs_is_read_again(
    kubeflow: Kubeflow, cluster: Path
) -> None:
    """Every request has the token of its moment: the server takes each for two requests only."""
    token = cluster.with_name("token")
    kubeflow.token = "first"

    def rotate() -> None:
        if len(kubeflow.asked) % 2 == 0:
            kubeflow.token = f"token-{len(kubeflow.asked)}"
            token.write_text(kubeflow.token)

    kubeflow.after = rotate
    assert pipeline("run", "-e", cluster, "--data-rev", REVISION) == 0
    assert len(kubeflow.asked) > 4


def test_a_session_s_cookies_and_a_token_of_the_environment_do_as_well(
    kubeflow: Kubeflow, cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = yaml.safe_load(cluster.read_text())
    cluster.write_text(yaml.safe_dump(content | {"token_file": None}))
    kubeflow.token = "given"
    assert pipeline("status", "-e", cluster) == 1
    monkeypatch.setenv("KF_PIPELINES_TOKEN", "given")
    assert pipeline("status", "-e", cluster) == 0
    monkeypatch.delenv("KF_PIPELINES_TOKEN")
    kubeflow.cookie = "authservice_session=abc"
    monkeypatch.setenv("KF_PIPELINES_COOKIES", "authservice_session=abc")
    assert pipeline("status", "-e", cluster) == 0


def test_a_token_file_that_is_not_there_is_named(
    kubeflow: Kubeflow, cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.with_name("token").unlink()
    assert pipeline("status", "-e", cluster) == ConfigError.exit_code
    assert "set KF_PIPELINES_TOKEN" in capsys.readouterr().err


def test_what_is_scheduled_is_explained(
    kubeflow: Kubeflow, cluster: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "schedules.yaml"
    file.write_text("schedules: {nightly: {cron: 0 30 2 * * 1-5}}")
    assert pipeline("schedule", "list", "-e", cluster) == 0
    assert "no schedule of ours" in capsys.readouterr().out
    assert pipeline("schedule", "apply", file, "-e", cluster) == 0
    assert pipeline("schedule", "list", "-e", cluster) == 0
    explained = "at day of week 1-5, hour 2, minute 30, second 0 (UTC)"
    assert capsys.readouterr().out.count(explained) == 2


def test_a_package_is_compiled_or_only_checked(
    cluster: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(ROOT)
    out = tmp_path / "pipeline.yaml"
    arguments = ("compile", "-e", cluster, "--data-rev", REVISION, "-o", out)
    assert pipeline(*arguments, "--dry-run") == 0
    assert not out.exists()
    assert pipeline(*arguments) == 0
    assert pipeline(*arguments, "--dry-run") == 0
    said = [line.split(maxsplit=1)[0] for line in capsys.readouterr().out.splitlines()]
    assert said == ["would", "wrote", "unchanged"]


def test_a_server_that_is_away_is_named(
    cluster: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", "http://127.0.0.1:9")
    assert pipeline("status", "-e", cluster) == 1
    assert "check endpoint" in capsys.readouterr().err


def test_a_dry_run_needs_no_server(
    cluster: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says so, and shows what an empty server would be asked."""
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.chdir(ROOT)
    file = ROOT / "pipelines/environments/schedules.yaml"
    assert pipeline("schedule", "apply", file, "-e", cluster, "--dry-run") == 0
    said = capsys.readouterr()
    assert said.out.count("would create") == 3
    assert "cannot be reached" in said.err
    assert "a server with nothing on it" in said.err
    assert pipeline("schedule", "apply", file, "-e", cluster) == 1


@pytest.mark.skipif("KUBEFLOW_SLOW" not in os.environ, reason="slow: make kubeflow-test")
@pytest.mark.parametrize(("last", "code"), [("reject", 0), ("train", 1)])
def test_the_smoke_script_says_whether_the_cluster_runs_the_graph(
    last: str, code: int, kubeflow: Kubeflow, cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command of it is real; the run's journal and end are written by the test."""

    def end_run() -> None:
        while not kubeflow.runs:
            time.sleep(0.1)
        name, run = next(iter(kubeflow.runs.items()))
        lines = [f"line {i} of a step that says much" for i in range(200)]
        for step in ("validate", last):
            entry = {"step": step, "state": "succeeded", "started": step, "log": lines}
            key = f"journal/{name}/{step}.json"
            bucket.put_object(Bucket=servers.BUCKET, Key=key, Body=json.dumps(entry))
        run["state"] = "SUCCEEDED"

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with servers.running_moto() as address:
        bucket = servers.make_client(address)
        for name, value in {**servers.KEYS, "AWS_ENDPOINT_URL": address}.items():
            monkeypatch.setenv(name, value)
        content = yaml.safe_load(cluster.read_text())
        cluster.write_text(yaml.safe_dump(content | {"journal": f"s3://{servers.BUCKET}/journal"}))
        threading.Thread(target=end_run, daemon=True).start()
        done = subprocess.run(
            ("bash", "pipelines/smoke.sh", str(cluster)), cwd=ROOT, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert ("the cluster runs the graph" in done.stdout) == (code == 0)


@pytest.mark.parametrize(
    ("cron", "message"),
    [
        ("0 2 * * *", "did you mean '0 0 2 \\* \\* \\*'"),
        ("0 0 24 * * *", "its hour is '24'"),
        ("0 0 2 * 13 *", "its month is '13'"),
        ("0 0 2 * * 7", "its day of week is '7' .* from 0 to 6 or SUN to SAT"),
        ("0 0 2 * * FOO", "its day of week is 'FOO'"),
        ("0 0 2 * MON *", "its month is 'MON'"),
        ("0 */0 2 * * *", "its minute is '\\*/0'"),
        ("0 0 9-5 * * *", "its hour is '9-5'"),
        ("@daily", "six fields"),
    ],
)
def test_cron_is_explained(cron: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        schedules.Schedule(cron)


@pytest.mark.parametrize(
    "cron", ["0 0 2 * * *", "0 */15 8-18 * * 1-5", "0 0 4 1,15 * ?", "0 0 2 * jan-MAR MON"]
)
def test_good_cron_passes(cron: str) -> None:
    assert schedules.Schedule(cron).cron == cron
