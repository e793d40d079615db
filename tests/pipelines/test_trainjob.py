"""The real Trainer client against a server that knows the resource and starts real torchrun nodes."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from components import index
from pipelines import environment, trainjob
from pipelines.environment import Environment, Training
from pipelines.launch import torchrun
from tests.pipelines.trainer_server import Trainer, _kill, serve
from trackline import artifacts, config, records
from trackline.errors import Interrupted, TracklineError

ROOT = Path(__file__).parents[2]
FACTS = Path(os.environ.get("KUBEFLOW_FACTS") or ROOT.parent / "shared/kubeflow")
CRD = FACTS / "trainer_v2.3.0_trainjobs_crd.yaml"
ROLES = ROOT / "pipelines/environments/namespace.yaml"
RUNTIME = FACTS / "trainer_v2.3.0_torch_distributed.yaml"

pytestmark = pytest.mark.skipif(
    not (CRD.is_file() and RUNTIME.is_file()),
    reason="Trainer's CRD and runtime are not here; name their folder in KUBEFLOW_FACTS",
)
slow = pytest.mark.skipif(not os.environ.get("KUBEFLOW_SLOW"), reason="slow: make kubeflow-test")


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trainer]:
    """The server, and a kubeconfig that leads to it."""
    from kubernetes.config import kube_config

    folder = tmp_path / "pods"
    folder.mkdir()
    server = Trainer(CRD, RUNTIME, ROLES, folder, patience=4)
    with serve(server) as address:
        entry = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "t",
            "clusters": [{"name": "t", "cluster": {"server": address}}],
            "users": [{"name": "t", "user": {}}],
            "contexts": [
                {"name": "t", "context": {"cluster": "t", "user": "t", "namespace": "tests"}}
            ],
        }
        file = tmp_path / "kubeconfig"
        file.write_text(yaml.safe_dump(entry))
        monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(file))
        yield server
    assert set(server.forbidden) <= {"get  configmaps"}  # the client's own look at versions


@pytest.fixture
def cluster() -> Environment:
    example = environment.load(ROOT / "pipelines/environments/example.yaml")
    training = Training("trainjob", 2, namespace="tests")
    steps = {"train": dataclasses.replace(example.steps["train"], cpu="1")}
    return dataclasses.replace(
        example, training=training, volume="claim", variables={"OURS": "1"}, steps=steps
    )


def test_a_job_that_fails_is_an_error_and_is_deleted(
    trainer: Trainer, cluster: Environment, capfd: pytest.CaptureFixture[str]
) -> None:
    """components.train refuses its params; every node says so until the job gives up."""
    trainer.patience = 0
    job = trainjob.Job("run-1", cluster, poll_seconds=0.2)
    with pytest.raises(TracklineError, match="failed"):
        job.run("components.train", ["--params", "/nowhere/params.yaml"])
    name = trainjob.name_job("run-1")
    assert trainer.deleted == [name]
    assert "node-0 | error: /nowhere/params.yaml does not exist" in capfd.readouterr().out
    spec = trainer.created[0]["spec"]
    assert spec["trainer"]["numNodes"] == 2
    assert spec["trainer"]["command"][0] == "torchrun"
    assert spec["runtimeRef"]["name"] == "torch-distributed"
    pod = spec["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"][0][
        "template"]["spec"]["template"]["spec"]  # fmt: skip
    assert {"claimName": "claim"} in [v.get("persistentVolumeClaim") for v in pod["volumes"]]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert {"name": "OMP_NUM_THREADS", "value": "1"} in spec["trainer"]["env"]
    secret = pod["containers"][0]["env"][0]
    assert secret["valueFrom"]["secretKeyRef"]["name"] == "tracking-s3"


def test_what_is_left_of_a_run_is_swept_away(
    trainer: Trainer, cluster: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKLINE_TRAINJOB", trainjob.describe(cluster))
    job = trainjob.Job("run-2", cluster, poll_seconds=0.2)
    job._submit("http.server", ["0", "--bind", "127.0.0.1"])  # runs until it is stopped
    assert job.find_state() in ("Created", "Running")
    trainjob.sweep("run-2")
    assert trainer.deleted == [job.name]
    trainjob.sweep("run-2")


def test_a_second_try_adopts_the_job_of_the_first(
    trainer: Trainer, cluster: Environment, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The first step is evicted while its job runs; the job goes on, and the next try waits for it."""
    job = trainjob.Job("run-4", cluster, poll_seconds=0.2)
    arguments = ["-n", "1", "-r", "1", "import time; time.sleep(5); print('learnt')"]

    def evict() -> None:
        raise Interrupted("evicted")

    with monkeypatch.context() as patch:
        patch.setattr(job, "_print_logs", evict)
        with pytest.raises(Interrupted):
            job.run("timeit", arguments)
    assert trainer.deleted == []
    trainjob.Job("run-4", cluster, poll_seconds=0.2).run("timeit", arguments)
    assert len(trainer.created) == 1
    assert trainer.deleted == [job.name]
    said = capfd.readouterr().out
    assert f"found TrainJob {job.name} of an earlier try" in said
    assert "node-0 | learnt" in said


def test_a_job_goes_on_while_the_api_server_is_away_for_a_moment(
    trainer: Trainer, cluster: Environment
) -> None:
    trainer.outages = 2
    job = trainjob.Job("run-5", cluster, poll_seconds=0.2)
    job.run("timeit", ["-n", "1", "-r", "1", "pass"])
    assert trainer.outages == 0
    assert trainer.deleted == [job.name]


@slow
def test_a_killed_node_costs_no_more_than_time(
    trainer: Trainer, cluster: Environment, world: Path, miniature: config.Params, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """One of two nodes is killed after the first checkpoint; both go on; the weights are those of two
    processes on one machine that nobody disturbed."""
    annotations, params = tmp_path / "annotations", tmp_path / "params.yaml"
    index.index(world, annotations)
    training = dataclasses.replace(
        miniature.train, epochs=3, samples_per_epoch=32, checkpoint_minutes=0.0
    )
    params.write_text(yaml.safe_dump(records.plain(dataclasses.replace(miniature, train=training))))
    names = ("model", "metrics", "curves", "checkpoint")
    files = {"--params": params, "--annotations": annotations, "--profile": tmp_path / "none"}
    files |= {f"--{name}": tmp_path / "results" / name for name in names}
    root = tmp_path / "volume"
    killer = threading.Thread(target=_kill_a_node, args=(trainer, root), daemon=True)
    killer.start()
    trainjob.train("run-3", cluster, root, files)
    killer.join(timeout=5)
    said = capfd.readouterr().out
    assert "killed node 1" in said
    assert "going on" in said
    assert trainer.deleted == [trainjob.name_job("run-3")]
    artifacts.verify(files["--model"])
    assert artifacts.read_json(files["--metrics"])["epoch"] == 3
    assert not (root / "runs/run-3").exists()
    alone = files | {f"--{name}": tmp_path / "alone" / name for name in names}
    arguments = [str(part) for pair in alone.items() for part in pair]
    torchrun("components.train", arguments, processes="2")
    weights = [artifacts.sha256(f["--model"] / "model.safetensors") for f in (files, alone)]
    assert weights[0] == weights[1]


def _kill_a_node(trainer: Trainer, root: Path) -> None:
    """As a lost machine would: without a word, once there is something to go on from."""
    deadline = time.monotonic() + 1500
    while time.monotonic() < deadline:
        if list(root.glob("runs/*/checkpoint*")) and trainer.jobs:
            node = next(iter(trainer.jobs.values())).nodes[1]
            _kill(node)
            print("killed node 1", flush=True)
            return
        time.sleep(0.05)
