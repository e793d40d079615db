"""A training's state in object storage: brought, taken whenever it is new, removed in the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from components import index
from pipelines import checkpoints
from pipelines.checkpoints import kept
from tests.services import servers
from trackline import artifacts, config, records
from trackline.errors import Interrupted

ROOT = Path(__file__).parents[2]
PLACE = "memory://bucket/checkpoints/run/checkpoint.safetensors"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """An object store in memory, looked at often."""
    import fsspec

    monkeypatch.setattr(checkpoints, "WATCH_SECONDS", 0.01)
    store = fsspec.filesystem("memory")
    yield store
    store.store.clear()


def test_a_folder_that_pods_share_is_used_as_it_is(tmp_path: Path) -> None:
    with kept(str(tmp_path / "checkpoint"), tmp_path) as file:
        assert file == tmp_path / "checkpoint"


def test_a_second_try_finds_what_the_first_one_kept(bucket: object, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for scratch in (first, second):
        scratch.mkdir()
    with suppress(Interrupted), kept(PLACE, first) as file:
        for content in ("epoch 1", "epoch 2"):
            artifacts.write_text(file, content)
        raise Interrupted("preempted")
    with kept(PLACE, second) as file:
        assert file.read_text() == "epoch 2"
        file.unlink()  # as training does when it is done
    assert not bucket.exists(PLACE)  # type: ignore[attr-defined]


def test_new_states_are_taken_while_training_goes_on(bucket: object, tmp_path: Path) -> None:
    """Whoever is killed for its memory takes nothing anywhere any more."""
    with kept(PLACE, tmp_path) as file:
        artifacts.write_text(file, "epoch 1")
        deadline = time.monotonic() + 60
        while not bucket.exists(PLACE):  # type: ignore[attr-defined]
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_training_goes_on_while_the_storage_is_away(
    bucket: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def fail(*_: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(type(bucket), "put_file", fail)
    with kept(PLACE, tmp_path) as file:
        artifacts.write_text(file, "epoch 1")
    assert "warning: the checkpoint's copy is not up to date: no route" in capsys.readouterr().out


STEP = """
import sys
from pathlib import Path
from pipelines import checkpoints
from pipelines.launch import torchrun
checkpoints.WATCH_SECONDS = 0.05
place, scratch, *arguments = sys.argv[1:]
with checkpoints.kept(place, Path(scratch)) as checkpoint:
    torchrun("components.train", [*arguments, "--checkpoint", str(checkpoint)])
"""


@pytest.mark.skipif("KUBEFLOW_SLOW" not in os.environ, reason="slow: make kubeflow-test")
def test_a_preempted_training_ends_with_the_very_same_weights(
    world: Path, miniature: config.Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two pods that share nothing but a bucket; the first is killed after its first checkpoint."""
    settings = {"epochs": 3, "samples_per_epoch": 48, "checkpoint_minutes": 0.0}
    plain = records.plain(miniature)
    plain["train"] |= settings
    params, annotations = tmp_path / "params.yaml", tmp_path / "annotations"
    params.write_text(yaml.safe_dump(plain))
    index.index(world, annotations)

    def start(name: str, place: str) -> tuple[subprocess.Popen[bytes], Path]:
        folder = tmp_path / name
        folder.mkdir()
        given = {"params": params, "annotations": annotations, "profile": tmp_path / "none"}
        given |= {n: folder / n for n in ("model", "metrics", "curves")}
        options = [str(part) for n, path in given.items() for part in (f"--{n}", path)]
        command = (sys.executable, "-c", STEP, place, str(folder), *options)
        return subprocess.Popen(command, cwd=ROOT, start_new_session=True), folder / "model"

    whole, undisturbed = start("whole", str(tmp_path / "checkpoint.safetensors"))
    assert whole.wait(timeout=1500) == 0
    with servers.running_moto() as address:
        for name, value in {**servers.KEYS, "AWS_ENDPOINT_URL": address}.items():
            monkeypatch.setenv(name, value)
        key = "checkpoints/run/checkpoint.safetensors"
        place = f"s3://{servers.BUCKET}/{key}"
        killed, _ = start("first", place)
        deadline = time.monotonic() + 1500
        while key not in list_keys(address):
            assert time.monotonic() < deadline
            assert killed.poll() is None
            time.sleep(0.1)
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait(timeout=60)
        second, resumed = start("second", place)
        assert second.wait(timeout=1500) == 0
        assert list_keys(address) == []
    weights = [artifacts.sha256(m / "model.safetensors") for m in (undisturbed, resumed)]
    assert weights[0] == weights[1]


def list_keys(address: str) -> list[str]:
    found = servers.make_client(address).list_objects_v2(Bucket=servers.BUCKET)
    return [entry["Key"] for entry in found.get("Contents", [])]
