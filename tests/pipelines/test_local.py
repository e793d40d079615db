"""The graph in KFP's local runner on a miniature: which steps run, and what they leave."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from components import train
from pipelines import local
from pipelines.local import Outcome
from tests.pipelines.conftest import Project
from tests.test_pipeline import CODE, FILES, ROOT
from tests.test_pipeline import Project as Clone
from trackline import artifacts, journal, records
from trackline.errors import GateRefused, TracklineError

STEPS = ["fetch", "index", "validate", "drift", "train", "evaluate", "gate"]


def find(outcome: Outcome, step: str, artifact: str) -> Path:
    """A step's artifact of a run; one that was taken over lies with the run before."""
    found = sorted(outcome.folder.parent.glob(f"*/trackline-*/{step}/{artifact}"))
    assert found, f"{step} left no {artifact}"
    return found[-1]


def test_an_accepted_model_is_registered(accepted: Outcome) -> None:
    assert accepted.steps == [*STEPS, "register"]
    assert {entry["state"] for entry in accepted.entries} == {"succeeded"}
    accepted.check()
    version = artifacts.read_json(find(accepted, "register", "version"))
    assert (version["version"], version["alias"]) == (1, "candidate")
    assert accepted.entries[-1]["told"] == "tracker version 1, candidate"
    assert (
        "registered tracker version 1, candidate" in find(accepted, "notify", "summary").read_text()
    )


def test_the_pages_show_numbers_curves_and_tables(accepted: Outcome) -> None:
    executed = artifacts.read_json(find(accepted, "evaluate", "executor_output.json"))["artifacts"]
    logged = executed["evaluation"]["artifacts"][0]["metadata"]
    assert logged["ao"] == artifacts.read_json(find(accepted, "evaluate", "evaluation"))["ao"]
    classes = executed["classes"]["artifacts"][0]["metadata"]
    assert len(classes["confusionMatrix"]["annotationSpecs"]) == 10
    rates = [point["recall"] for point in classes["confidenceMetrics"]]
    assert rates == sorted(rates)
    assert rates[-1] == 1
    assert "| gate |" in find(accepted, "gate", "gates").read_text()
    assert "<html" in find(accepted, "gate", "report").read_text()[:500].lower()


def test_the_weights_are_those_of_the_step_by_itself(
    accepted: Outcome, project: Project, tmp_path: Path
) -> None:
    """dvc repro calls the same function with the same params on the same footage."""
    inputs = train.Inputs(find(accepted, "index", "annotations"), tmp_path / "none")
    outputs = train.Outputs(
        *(tmp_path / n for n in ("model", "metrics.json", "train.csv", "state"))
    )
    train.train(project.params, inputs, outputs)
    ours, theirs = (artifacts.sha256(m / "model.safetensors") for m in (
        outputs.model, find(accepted, "train", "trained")))  # fmt: skip
    assert ours == theirs


CLOCKS = {"fps", "latency_ms", "seconds", "samples_per_second", "peak_memory_mb"}
OWN = {"seal_sha256", "sha256"}  # of a file with a clock's reading or a path in it


@pytest.mark.skipif("KUBEFLOW_SLOW" not in os.environ, reason="slow: make kubeflow-test")
def test_dvc_repro_comes_to_the_same_weights_and_metrics(
    accepted: Outcome, project: Project, tmp_path: Path
) -> None:
    """The real `dvc repro` of the real dvc.yaml, in a working tree with the same footage and params."""
    for name in CODE:
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(project.root / "data", tmp_path / "data")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(records.plain(project.params)))
    clone = Clone(tmp_path)
    for command in ("init --no-scm -q", "add -q data", "repro"):
        clone.succeed("dvc", *command.split())
    pairs = {"validate": "validation", "train": "training", "evaluate": "evaluation"}
    for step, artifact in pairs.items():
        ours = artifacts.read_json(find(accepted, step, artifact))
        theirs = clone.read(f"metrics/{step}.json")
        assert ours.keys() == theirs.keys()
        for name in ours.keys() - CLOCKS - OWN:
            assert ours[name] == theirs[name], f"{step}: {name}"
    models = (find(accepted, "train", "trained"), tmp_path / "artifacts/model")
    weights = [artifacts.sha256(model / "model.safetensors") for model in models]
    assert weights[0] == weights[1]


def test_the_model_knows_its_data(accepted: Outcome, project: Project) -> None:
    lineage = artifacts.read_json(find(accepted, "train", "trained") / "lineage.json")
    assert f"md5: {lineage['data']['dvc_md5']}" in (project.root / "data.dvc").read_text()


def test_a_rejected_model_is_recorded_and_not_registered(
    accepted: Outcome, project: Project
) -> None:
    """Only the thresholds differ, so that only the gate runs anew."""
    outcome = project.run(params=project.gate(min_ao=0.99))
    assert outcome.steps == ["fetch", "gate", "reject"]
    with pytest.raises(GateRefused, match="nothing was registered"):
        outcome.check()
    assert artifacts.read_json(find(outcome, "reject", "rejection"))["failed"][0]["name"] == "ao"
    assert "rejected by the gates" in find(outcome, "notify", "summary").read_text()
    assert not list(outcome.folder.rglob("register"))


def test_the_page_is_told_why(accepted: Outcome, project: Project, webhook: list[dict[str, Any]],
                              monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """The summary and the message lead to the run's page, and say what the gates said."""
    monkeypatch.setenv("TRACKLINE_UI", "https://kubeflow.example.org/pipeline/")
    outcome = project.run(params=project.gate(min_ao=0.98))
    page = f"https://kubeflow.example.org/pipeline/#/runs/details/{outcome.run}"
    assert f"]({page})" in find(outcome, "notify", "summary").read_text()
    (message,) = webhook
    assert page in message["text"]
    assert "not registered: rejected" in message["text"]
    assert message["steps"]["reject"] == "succeeded"


def test_a_retraining_waits_for_drift(accepted: Outcome, project: Project) -> None:
    """There is no champion to have drifted from: the data are looked at, nothing is trained."""
    outcome = project.run(on_drift=True)
    outcome.check()
    assert outcome.steps == ["fetch", "rest"]


class Webhook(BaseHTTPRequestHandler):
    """Takes what is posted."""

    received: list[dict[str, Any]]

    def do_POST(self) -> None:
        self.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Any:
    Webhook.received = []
    server = HTTPServer(("127.0.0.1", 0), Webhook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("TRACKLINE_WEBHOOK", f"http://127.0.0.1:{server.server_port}/secret-path")
    yield Webhook.received
    server.shutdown()
    server.server_close()


def test_bad_data_stops_the_run_and_people_are_told(
    project: Project, webhook: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A class that params.yaml does not list: validate says so, nothing after it runs."""
    params = project.params
    fewer = dataclasses.replace(params.data, classes=params.data.classes[1:])
    outcome = project.run(params=dataclasses.replace(params, data=fewer))
    assert outcome.steps[-1] == "validate"
    assert not {"train", "register", "reject"} & set(outcome.steps)
    failure = outcome.entries[-1]
    assert failure["exit_code"] == 15
    assert any("FAILED" in line for line in failure["log"])
    with pytest.raises(TracklineError, match="validate failed"):
        outcome.check()
    assert webhook[0]["steps"]["validate"] == "failed"
    assert failure["error"] in webhook[0]["text"]
    everything = "".join(json.dumps(entry) for entry in outcome.entries)
    assert "secret-path" not in everything + find(outcome, "notify", "summary").read_text()


def test_a_flaky_step_is_tried_again(accepted: Outcome, project: Project, tmp_path: Path) -> None:
    """The remote is away when the run begins and comes back after the first failure."""
    remote, away = tmp_path / "remote", tmp_path / "away"
    shutil.copytree(project.remote, away)
    remote.mkdir()

    def come_back() -> None:
        root = project.root / "artifacts/flaky/journal"
        while not any("failed" in f.read_text() for f in root.glob("*/fetch.json")):
            time.sleep(0.05)
        shutil.rmtree(remote)
        away.rename(remote)

    helper = threading.Thread(target=come_back, daemon=True)
    helper.start()
    params = project.params
    outcome = project.run("artifacts/flaky", remote=remote, params=_stop_early(params))
    helper.join(timeout=1)
    assert outcome.steps[:2] == ["fetch", "index"]
    assert (outcome.entries[0]["state"], outcome.entries[0]["tries"]) == ("succeeded", 2)


def _stop_early(params: Any) -> Any:
    """Parameters with which validate fails: what comes after it is not the point."""
    return dataclasses.replace(
        params, validate=dataclasses.replace(params.validate, min_sequences_per_split=1000)
    )


def test_containers_see_what_the_parameters_name(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry's folder to write into; weights and keys to read; a timm model is no file."""
    monkeypatch.chdir(tmp_path)
    Path("vit.safetensors").touch()
    params = project.params
    named = dataclasses.replace(
        params, model=dataclasses.replace(params.model, pretrained="vit.safetensors")
    )
    root, remote = tmp_path / "root", tmp_path / "remote"
    writable, readable = local.list_paths(named, root, str(remote))
    assert writable == [root, tmp_path / "registry"]
    assert readable == [remote, tmp_path / "vit.safetensors"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example.org")
    assert local.list_paths(params, root, str(remote)) == ([root], [remote])


def test_a_journal_is_read_in_the_order_of_the_steps(accepted: Outcome, project: Project) -> None:
    root = str(project.root / "artifacts/kubeflow/journal")
    entries = journal.read(f"{root}/{accepted.run}")
    assert [entry["step"] for entry in entries] == accepted.steps
