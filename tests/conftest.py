"""What many tests share: a miniature of the demo world."""

import dataclasses
import os
from pathlib import Path

import pytest

from components import index
from trackline import config
from trackline.data.synth import synthesise

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tensors here are tiny; threads only fight


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature data folder in GOT-10k's layout; tests copy it before they change it."""
    sizes = {"train": (20, 6), "val": (10, 6), "test": (10, 8)}
    return synthesise(tmp_path_factory.mktemp("world") / "data", sequences=sizes, progress=False)


@pytest.fixture(scope="session")
def annotations(world: Path) -> Path:
    """The annotation table of the miniature."""
    table = world.with_name("annotations.parquet")
    index.index(world, table)
    return table


@pytest.fixture(scope="session")
def miniature(world: Path) -> config.Params:
    """The project's params with a network and a training run so small that they take seconds."""
    params = config.load(Path(__file__).parents[1] / "params.yaml")
    model = config.Model(
        template=config.Crop(32, 1.5),
        search=config.Crop(64, 2.5),
        backbone=config.Backbone(
            patch=16, stem="convolutional", width=32, depth=2, heads=2, drop_path=0.0, temporal=True
        ),
        elimination=config.Elimination(layers=(1,), keep=(0.7,)),
        history=config.History(8, 4, capacity=4, first_writes=(1, 2), interval=2),
        head_width=16,
        class_head=config.ClassHead(hidden=16),
    )
    train = dataclasses.replace(
        params.train, epochs=2, samples_per_epoch=16, batch=8, ema=0.5, keep_start_epoch=1,
        keep_warmup_epochs=0, lr=3e-3, history_start_epoch=1,
    )  # fmt: skip
    data = dataclasses.replace(params.data, path=str(world))
    evaluate = dataclasses.replace(params.evaluate, csrt=False, bootstrap=200)
    return dataclasses.replace(params, data=data, model=model, train=train, evaluate=evaluate)
