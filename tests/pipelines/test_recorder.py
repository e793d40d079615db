"""What a step leaves in the journal, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components import notify
from pipelines import recorder
from trackline import journal

ROOT = Path(__file__).parents[2]
STEP = """
import sys, time
from pipelines import recorder
recorder.REPORT_SECONDS = 0.05
with recorder.recorded(sys.argv[1], "train"):
    print("epoch 7", flush=True)
    time.sleep(60)
"""


def end(place: Path, number: int) -> journal.Entry:
    """Start a step in a process of its own, end it by a signal once its lines are kept; its entry."""
    process = subprocess.Popen((sys.executable, "-c", STEP, str(place)), cwd=ROOT)
    deadline = time.monotonic() + 60
    while "epoch 7" not in (place / "train.json").read_text() if place.exists() else True:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, number)
    process.wait(timeout=60)
    return journal.read(str(place))[0]


def test_a_killed_step_leaves_its_last_lines_and_people_are_told(tmp_path: Path) -> None:
    entry = end(tmp_path / "run", signal.SIGKILL)
    assert entry["state"] == "running"
    assert entry["log"] == ["epoch 7"]
    notify.notify("run", str(tmp_path / "run"), "FAILED", tmp_path / "summary.md")
    summary = (tmp_path / "summary.md").read_text()
    assert "train failed: killed without a word: out of memory" in summary
    assert "epoch 7" in summary


def test_an_evicted_step_says_so(tmp_path: Path) -> None:
    entry = end(tmp_path / "run", signal.SIGTERM)
    assert (entry["state"], entry["exit_code"]) == ("failed", 75)
    assert "evicted" in entry["error"]


def test_tries_are_counted(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(OSError, match="away"), recorder.recorded(str(tmp_path), "fetch"):
            raise OSError("away")
    with recorder.recorded(str(tmp_path), "fetch") as entry:
        entry["told"] = "there"
    (kept,) = journal.read(str(tmp_path))
    assert (kept["tries"], kept["state"], kept["told"]) == (3, "succeeded", "there")


def test_a_journal_that_goes_away_does_not_end_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ConnectionError("the bucket is away")

    with recorder.recorded(str(tmp_path), "train"):
        monkeypatch.setattr(journal, "write", fail)
    assert "warning: the journal cannot be written: the bucket is away" in capsys.readouterr().err
