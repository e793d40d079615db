"""What many tests share: a miniature of the demo world."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.index import index
from trackline.data.synth import synthesise


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature data folder in GOT-10k's layout; tests copy it before they change it."""
    sizes = {"train": (20, 6), "val": (10, 6), "test": (10, 8)}
    return synthesise(tmp_path_factory.mktemp("world") / "data", sequences=sizes, progress=False)


@pytest.fixture(scope="session")
def annotations(world: Path) -> Path:
    """The annotation table of the miniature."""
    table = world.with_name("annotations.parquet")
    index(world, table)
    return table
