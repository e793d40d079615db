"""Two processes: the same step, each clip once, one writer, and a lost one is survived."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch._C._distributed_c10d import HashStore

from tests.training.conftest import ROOT, Job
from tests.training.test_resume import wait_for
from tests.training.two_processes import take_step
from trackline import config
from trackline.data.clips import ClipLoader, Share, _Draw
from trackline.data.sampling import ClipSampler
from trackline.errors import ConfigError, WorkerLost
from trackline.training import distributed
from trackline.training.distributed import Group
from trackline.training.loop import check_batch

MakeJob = Callable[..., Job]
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node=2")


def test_two_processes_take_the_step_of_one(make_job: MakeJob, tmp_path: Path) -> None:
    """Losses, gradients of every parameter, and batch statistics; all augmentation is on."""
    job, out = make_job("step"), tmp_path / "step.safetensors"
    params = job.root / "params.yaml"
    done = subprocess.run(
        (sys.executable, "-m", *TORCHRUN, "-m", "tests.training.two_processes", str(params),
         str(job.annotations), str(out)),
        cwd=ROOT, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True,
        check=False, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    two = safetensors.torch.load_file(out)
    one = take_step(config.load(params), job.annotations, Group())
    assert one.keys() == two.keys()
    scale = max(v.abs().max().item() for k, v in one.items() if k.startswith("gradient."))
    for name, value in one.items():
        unit = scale if name.startswith("gradient.") else max(1.0, value.abs().max().item())
        assert (value - two[name]).abs().max().item() <= 2e-5 * unit, name


@pytest.fixture
def seen(sampler: ClipSampler, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the clips that are drawn."""
    drawn: list[int] = []
    draw = ClipSampler.__call__

    def record(self: ClipSampler, epoch: int, index: int) -> object:
        drawn.append(index)
        return draw(self, epoch, index)

    monkeypatch.setattr(ClipSampler, "__call__", record)
    return drawn


@pytest.mark.parametrize("size", [1, 2, 4])
def test_processes_together_draw_each_clip_of_an_epoch_once(
    size: int, sampler: ClipSampler, seen: list[int]
) -> None:
    for rank in range(size):
        part = list(ClipLoader(sampler, 8, 1, Share(rank, size))(0, 24))
        assert [len(b.labels) for b in part] == [8 // size] * 3
    assert sorted(seen) == list(range(24))


def test_augmentation_is_drawn_for_the_whole_batch() -> None:
    def draw(share: Share) -> list[torch.Tensor]:
        made = _Draw(torch.Generator().manual_seed(5), 8 // share.size, torch.device("cpu"), share)
        return [made.uniform(2, 3), made.chance(0.5), made.partner()]

    halves = zip(draw(Share(0, 2)), draw(Share(1, 2)), strict=True)
    for whole, pair in zip(draw(Share()), halves, strict=True):
        assert torch.equal(whole, torch.cat(pair))


def test_a_batch_that_cannot_be_divided_is_refused(miniature: config.Params) -> None:
    with pytest.raises(ConfigError, match=r"train\.batch is 8; .* multiple of 3 processes × train"):
        check_batch(miniature.train, Group(0, 3))


@pytest.mark.parametrize("first", ["leader", "other"])
def test_who_restarts_meets_the_living_only(first: str) -> None:
    """torchrun's store still holds the hello of a dead process, and the invitation of a dead leader."""
    store = HashStore()
    with ThreadPoolExecutor() as pool:
        if first == "leader":
            store.set("hello-1", "dead")
            led = pool.submit(distributed._invite, store, 2)
            while not store.check(["invitation-dead"]):
                time.sleep(0.01)
            answered = pool.submit(distributed._answer, store, 1)
        else:
            answered = pool.submit(distributed._answer, store, 1)
            while not store.check(["hello-1"]):
                time.sleep(0.01)
            store.set(f"invitation-{store.get('hello-1').decode()}", "dead")
            while not store.check(["dead-1"]):
                time.sleep(0.01)
            led = pool.submit(distributed._invite, store, 2)
        assert led.result(timeout=60) == answered.result(timeout=60) != "dead"


def test_who_waits_in_vain_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "MEET_SECONDS", 0.1)
    with pytest.raises(WorkerLost, match="not all processes came"):
        distributed._answer(HashStore(), 1)


def list_children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif("TORCHRUN_SLOW" not in os.environ, reason="minutes; make torchrun-test")
def test_a_killed_worker_is_restarted_and_the_weights_are_the_same(make_job: MakeJob) -> None:
    settings = {"epochs": 2, "samples_per_epoch": 16, "search_frames": 1, "checkpoint_minutes": 0.0}
    whole, killed = make_job("whole", **settings), make_job("killed", **settings)
    said = whole.finish(*TORCHRUN, "-m")
    assert [line[:8] for line in said.splitlines() if line.startswith("epoch")] == [
        f"epoch {i} " for i in (1, 2)
    ]  # one process prints
    process = killed.start(*TORCHRUN, "--max-restarts=1", "-m")
    wait_for(killed.checkpoint)
    os.kill(list_children(process.pid)[-1], signal.SIGKILL)
    out, error = process.communicate(timeout=500)
    assert process.returncode == 0, error
    assert "going on after" in out
    assert killed.weights == whole.weights
