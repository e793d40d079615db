"""Real processes, really killed: whatever the moment, the next start ends with the same weights."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.training.conftest import Job

MakeJob = Callable[..., Job]
SETTINGS = {"epochs": 4, "samples_per_epoch": 64, "checkpoint_minutes": 0.0}  # 32 checkpoints


@pytest.fixture
def uninterrupted(make_job: MakeJob) -> Job:
    job = make_job("uninterrupted", **SETTINGS)
    job.finish()
    return job


def wait_for(path: Path) -> None:
    """Wait until a file is there or, for a checkpoint that is there already, is replaced."""
    old, start = path.stat().st_mtime_ns if path.exists() else 0, time.monotonic()
    while not path.exists() or path.stat().st_mtime_ns == old:
        assert time.monotonic() - start < 300
        time.sleep(0.005)


def test_killed_at_several_moments_it_ends_with_the_uninterrupted_run_s_weights(
    make_job: MakeJob, uninterrupted: Job
) -> None:
    """SIGKILL a random time after the first checkpoint of each start, between or in writes."""
    job, moments = make_job("killed", **SETTINGS), random.Random(0)
    for _ in range(3):
        process = job.start()
        wait_for(job.checkpoint)
        time.sleep(moments.uniform(0, 0.5))
        assert process.poll() is None, "the run was too short to be killed"
        process.kill()
        process.communicate()
    assert "going on after" in job.finish()
    assert job.weights == uninterrupted.weights
    assert not list(job.root.glob("checkpoint*"))


def test_told_to_stop_it_saves_within_the_epoch_and_leaves_with_its_own_code(
    make_job: MakeJob,
) -> None:
    job = make_job("stopped", epochs=500, samples_per_epoch=800)
    process = job.start()
    wait_for(job.root / "curves.csv")  # the first epoch is done
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=500)
    assert process.returncode == 75
    assert error.startswith("error: told to stop after ")
    assert "start it again to go on" in error
    assert job.checkpoint.is_file()
    assert "\r" not in error
    assert "\x1b" not in error
