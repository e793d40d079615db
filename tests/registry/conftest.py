"""What tests of the registry share: one registry, a model of its own for each test, a package."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from trackline import artifacts, registry
from trackline.config import Registry


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[registry.Store]:
    """One registry for all tests of this file, as making its tables takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"):
            patch.delenv(name, raising=False)
        yield registry.connect(Registry(), tmp_path_factory.mktemp("project"))


@pytest.fixture
def store(shared: registry.Store, request: pytest.FixtureRequest) -> registry.Store:
    """A model of its own for each test."""
    return dataclasses.replace(shared, name=f"model-{abs(hash(request.node.name)) % 10**9}")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package that is legal wherever only its sums matter."""
    return pack(tmp_path / "package", "weights")


def pack(folder: Path, weights: str) -> Path:
    """Write such a package."""
    folder.mkdir()
    (folder / "model.safetensors").write_text(weights)
    artifacts.write_sums(folder)
    return folder


def put(
    store: registry.Store, package: Path, note: str = "{}", curve: tuple[float, ...] = ()
) -> registry.Version:
    """Register a package with a note as its evidence."""
    file = package.with_name("note.json")
    file.write_text(note)
    return registry.register(
        store,
        package,
        {"gate.json": file},
        tags={"git.revision": "abc"},
        metrics={"ao": 0.7, "ao_csrt": float("nan")},
        curves={"Loss/total": list(curve)},
    )
