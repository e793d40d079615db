"""Versions go into the registry once, come out verified, and survive what surrounds them."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trackline import artifacts, registry
from trackline.config import Registry
from trackline.errors import PackageError, RegistryError


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


def test_a_package_becomes_a_version_and_the_candidate(
    store: registry.Store, package: Path
) -> None:
    version = put(store, package)
    assert version.version == 1
    assert version.sha256 == artifacts.verify(package)
    assert version.aliases == ("candidate",)
    assert version.tags["git.revision"] == "abc"


def test_a_version_comes_back_whole_with_its_evidence(
    store: registry.Store, package: Path, tmp_path: Path
) -> None:
    put(store, package, note="42")
    registry.fetch(store, 1, tmp_path / "out")
    assert artifacts.verify(tmp_path / "out/model") == artifacts.verify(package)
    assert (tmp_path / "out/evaluation/gate.json").read_text() == "42"


def test_the_same_content_stays_one_version_with_the_newest_evidence(
    store: registry.Store, package: Path, tmp_path: Path
) -> None:
    first, second = put(store, package, note="1"), put(store, package, note="2")
    assert (first.version, first.run_id) == (second.version, second.run_id)
    assert len(registry.list_versions(store)) == 1
    registry.fetch(store, 1, tmp_path / "out")
    assert (tmp_path / "out/evaluation/gate.json").read_text() == "2"


def test_other_content_is_the_next_version_and_takes_the_alias(
    store: registry.Store, package: Path, tmp_path: Path
) -> None:
    put(store, package)
    put(store, pack(tmp_path / "other", "other weights"))
    versions = registry.list_versions(store)
    assert [(v.version, v.aliases) for v in versions] == [(2, ("candidate",)), (1, ())]


@pytest.mark.parametrize("form", ["models:/{}@candidate", "models:/{}/1", "{}/1", "1", "candidate"])
def test_a_version_has_several_names(
    store: registry.Store, package: Path, tmp_path: Path, form: str
) -> None:
    put(store, package)
    assert registry.fetch(store, form.format(store.name), tmp_path / "out").version == 1


def test_an_unknown_version_is_answered_with_the_known_ones(
    store: registry.Store, package: Path, tmp_path: Path
) -> None:
    put(store, package)
    with pytest.raises(RegistryError, match=r"no version champion; .* are: 1 = candidate"):
        registry.fetch(store, f"models:/{store.name}@champion", tmp_path / "out")
    with pytest.raises(RegistryError, match="are: none"):
        registry.fetch(store, "models:/nothing/1", tmp_path / "out")


@pytest.mark.parametrize("text", ["models:/tracker", "models:/a/b/c", "runs:/1/model", "", "a'b/1"])
def test_what_names_no_model_is_answered_with_an_example(
    store: registry.Store, tmp_path: Path, text: str
) -> None:
    with pytest.raises(RegistryError, match=r"models:/|has no version"):
        registry.fetch(store, text, tmp_path / "out")


def test_a_version_altered_in_the_registry_is_refused_and_replaces_nothing(
    store: registry.Store, package: Path, tmp_path: Path
) -> None:
    version = put(store, package)
    stored = store.home / "artifacts" / version.run_id / "artifacts/model"
    (stored / "model.safetensors").write_text("tampered")
    artifacts.write_sums(stored)  # sums that fit do not help: the version's own hash does not
    (tmp_path / "out").mkdir()
    (tmp_path / "out/old").touch()
    with pytest.raises(PackageError, match="was altered in the registry"):
        registry.fetch(store, 1, tmp_path / "out")
    assert (tmp_path / "out/old").exists()


def test_an_altered_package_is_not_registered(store: registry.Store, package: Path) -> None:
    (package / "model.safetensors").write_text("tampered")
    with pytest.raises(PackageError):
        put(store, package)
    assert registry.list_versions(store) == []


def test_final_metrics_and_curves_are_in_the_run(store: registry.Store, package: Path) -> None:
    version = put(store, package, curve=(3.0, 2.0, 1.5))
    run = store.client.get_run(version.run_id)
    assert run.data.metrics == {"ao": 0.7, "Loss/total": 1.5}  # and nothing that is not a number
    history = store.client.get_metric_history(version.run_id, "Loss/total")
    assert [(point.step, point.value) for point in history] == [(0, 3.0), (1, 2.0), (2, 1.5)]
    assert run.info.status == "FINISHED"


def test_a_long_training_fits(store: registry.Store, package: Path) -> None:
    version = put(store, package, curve=tuple(range(2500)))
    assert store.client.get_run(version.run_id).data.metrics["Loss/total"] == 2499


def test_a_run_in_the_environment_becomes_the_parent_and_is_left_alone(
    store: registry.Store, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = store.client.create_experiment(f"pipelines of {store.name}")
    theirs = store.client.create_run(elsewhere).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", theirs)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", elsewhere)
    ours = store.client.get_run(put(store, package).run_id)
    assert ours.data.tags["mlflow.parentRunId"] == theirs
    assert ours.info.experiment_id != elsewhere
    assert store.client.get_run(theirs).info.status == "RUNNING"
    assert store.client.get_run(theirs).data.metrics == {}


def test_a_moved_registry_still_gives_and_takes(
    store: registry.Store, package: Path, tmp_path: Path
) -> None:
    put(store, package)
    moved = tmp_path / "moved" / "registry"
    shutil.copytree(store.home, moved)
    again = registry.connect(Registry(store.name), moved.parent)
    stored = moved / "artifacts" / registry.find_version(again, 1).run_id / "artifacts/model"
    (stored / "extra").touch()  # so that a look into the old place would be noticed
    with pytest.raises(PackageError):
        registry.fetch(again, 1, tmp_path / "out")
    (stored / "extra").unlink()
    registry.fetch(again, 1, tmp_path / "out")
    made = put(again, pack(tmp_path / "other", "other weights"))
    assert (moved / "artifacts" / made.run_id / "artifacts/model/model.safetensors").exists()


def test_a_located_model_is_fetched_once(
    store: registry.Store, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = put(store, package)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    reference = f"models:/{store.name}@candidate"
    folder = registry.locate(reference, root=tmp_path)
    assert artifacts.verify(folder) == version.sha256
    monkeypatch.setattr(registry, "fetch", None)
    assert registry.locate(reference, root=tmp_path) == folder


def test_a_registry_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "registry").write_text("a file where the folder should be")
    with pytest.raises(RegistryError, match=r"sqlite:///registry/mlflow\.db cannot be used"):
        registry.connect(Registry(), tmp_path)


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry/mlflow.db").write_text("not a database, by any means" * 100)
    with pytest.raises(RegistryError, match="not a database"):
        registry.connect(Registry(), tmp_path)


def test_a_server_that_is_down_is_one_sentence_without_the_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://someone:secret@127.0.0.1:9")
    with pytest.raises(RegistryError, match=r"http://127\.0\.0\.1:9 cannot be used") as error:
        registry.connect(Registry(), tmp_path)
    assert "secret" not in str(error.value)


def test_two_processes_that_create_the_registry_both_succeed(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from trackline import registry; "
        "from trackline.config import Registry; "
        f"registry.connect(Registry(), Path({str(tmp_path)!r}))"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parents[1],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for racer in racers:
        _, error = racer.communicate(timeout=120)
        assert (racer.returncode, error) == (0, "")
