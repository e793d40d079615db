"""The training step's call: under torchrun in this pod, or across nodes as a TrainJob."""

from __future__ import annotations

import os
from pathlib import Path

from pipelines import trainjob
from pipelines.checkpoints import kept
from pipelines.environment import MOUNT
from pipelines.launch import torchrun
from pipelines.step import Step


def run_training(
    step: Step, annotations: Path, profile: str, model: str, metrics: str, curves: str
) -> None:
    """Train here in as many processes as TRACKLINE_PROCESSES says, or across nodes; killed, it goes on."""
    files = {
        "--params": step.params_file,
        "--annotations": annotations,
        "--profile": Path(profile),
        "--model": Path(model),
        "--metrics": Path(metrics),
        "--curves": Path(curves) / "train.csv",
    }
    if environment := trainjob.read_environment():
        trainjob.train(step.run, environment, Path(MOUNT), files)
        return
    with kept(step.checkpoint, step.params_file.parent) as checkpoint:
        arguments = [str(part) for pair in files.items() for part in pair]
        arguments += ["--checkpoint", str(checkpoint)]
        torchrun("components.train", arguments, os.environ.get("TRACKLINE_PROCESSES", "1"))
