"""What tests of training share: a miniature of a run, in this process or in its own."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from trackline import artifacts, config, records
from trackline.data import table
from trackline.data.clips import ClipLoader
from trackline.data.frames import Frames
from trackline.data.sampling import ClipSampler
from trackline.models.network import Network
from trackline.training.loop import Trainer

ROOT = Path(__file__).parents[2]
MakeTrainer = Callable[..., Trainer]


@pytest.fixture(scope="package")
def sampler(world: Path, annotations: Path, miniature: config.Params) -> ClipSampler:
    """Clips of the miniature's training sequences."""
    sequences = list(table.iterate(table.read(annotations), "train"))
    return ClipSampler(
        sequences, Frames(world), miniature.data.classes, miniature.model, miniature.train
    )


@pytest.fixture
def loader(sampler: ClipSampler) -> ClipLoader:
    """Batches of the miniature's size."""
    return ClipLoader(sampler, 8, 1)


@pytest.fixture
def make_trainer(miniature: config.Params) -> MakeTrainer:
    """Makes trainers of the miniature with some settings changed."""

    def make(**changes: object) -> Trainer:
        train = dataclasses.replace(miniature.train, **changes)  # type: ignore[arg-type]
        torch.manual_seed(train.seed)
        return Trainer(Network(miniature.model, 10), train, torch.device("cpu"))

    return make


@dataclasses.dataclass(frozen=True)
class Job:
    """A training run as people start it: a folder with params.yaml, a command, a process."""

    root: Path
    annotations: Path

    @property
    def checkpoint(self) -> Path:
        return self.root / "checkpoint.safetensors"

    @property
    def weights(self) -> str:
        """Hash of the finished weights."""
        return artifacts.sha256(self.root / "model/model.safetensors")

    def start(self, *launcher: str) -> subprocess.Popen[str]:
        """Start it; stdout and stderr are pipes."""
        names = ("profile.json", "model", "metrics.json", "curves.csv", "checkpoint.safetensors")
        options = ("--profile", "--model", "--metrics", "--curves", "--checkpoint")
        paths = [x for o, n in zip(options, names, strict=True) for x in (o, str(self.root / n))]
        return subprocess.Popen(
            (sys.executable, "-m", *launcher, "components.train", "--annotations", str(self.annotations),
             "--params", str(self.root / "params.yaml"), *paths),
            cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def finish(self, *launcher: str) -> str:
        """Run it to its end; returns what it said on stdout."""
        process = self.start(*launcher)
        out, err = process.communicate(timeout=500)
        assert process.returncode == 0, err
        return out


@pytest.fixture
def make_job(
    tmp_path: Path, annotations: Path, miniature: config.Params
) -> Callable[..., Job]:  # fmt: skip
    """Makes jobs of the miniature with some settings changed."""

    def make(name: str, **changes: object) -> Job:
        root = tmp_path / name
        root.mkdir()
        train = dataclasses.replace(miniature.train, **changes)  # type: ignore[arg-type]
        params = dataclasses.replace(miniature, train=train)
        (root / "params.yaml").write_text(yaml.safe_dump(records.plain(params)))
        return Job(root, annotations)

    return make
