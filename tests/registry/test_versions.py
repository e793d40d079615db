"""Versions go into the registry once, come out verified, and survive what kills a registration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.registry.conftest import pack, put
from trackline import artifacts, registry
from trackline.errors import PackageError, RegistryError
from trackline.registry import versions
from trackline.registry.store import open_artifacts


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


def list_runs(store: registry.Store) -> dict[str, str]:
    """The states of this model's runs that are not deleted."""
    experiment = store.client.get_experiment_by_name(store.name)
    runs = store.client.search_runs([experiment.experiment_id])
    return {run.info.run_id: run.info.status for run in runs}


def put_and_die(
    store: registry.Store, package: Path, before: str, patch: pytest.MonkeyPatch, note: str = "{}"
) -> None:
    """Register a package in a process that is killed just before a step of `versions`."""

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with patch.context() as here:
        here.setattr(versions, before, die)
        with pytest.raises(KeyboardInterrupt):
            put(store, package, note)


def test_a_registration_killed_half_way_is_invisible_and_finished_by_the_next(
    store: registry.Store, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in ("_upload_evidence", "_create_version"):
        put_and_die(store, package, step, monkeypatch)
        assert registry.list_versions(store) == []
    version = put(store, package)
    assert version.version == 1
    assert list_runs(store) == {version.run_id: "FINISHED"}  # one run, taken up twice


def test_a_registration_killed_once_its_version_shows_is_finished_by_the_next(
    store: registry.Store, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store.client, "set_terminated", die)
        with pytest.raises(KeyboardInterrupt):
            put(store, package)
    (version,) = registry.list_versions(store)
    assert (version.aliases, list_runs(store)) == ((), {version.run_id: "RUNNING"})
    assert put(store, package).aliases == ("candidate",)
    assert list_runs(store) == {version.run_id: "FINISHED"}


def test_what_a_killed_registration_of_another_model_left_is_cleared_away(
    store: registry.Store, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_and_die(store, package, "_create_version", monkeypatch)
    (dead,) = list_runs(store)
    version = put(store, pack(tmp_path / "other", "other weights"))
    assert list_runs(store) == {version.run_id: "FINISHED"}
    assert not (store.home / "artifacts" / dead).exists()


def test_new_evidence_counts_only_once_it_is_whole(
    store: registry.Store, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, package, note="1")
    put_and_die(store, package, "_log", monkeypatch, note="2")
    registry.fetch(store, 1, tmp_path / "out")
    assert (tmp_path / "out/evaluation/gate.json").read_text() == "1"


def test_two_machines_that_register_the_same_content_at_once_make_one_version(
    store: registry.Store, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine holds no lock of ours, and is at the same point as we are."""
    create = versions._create_version

    def race(*arguments: Any) -> int:
        monkeypatch.setattr(versions, "_create_version", create)
        create(*arguments)
        return create(*arguments)

    monkeypatch.setattr(versions, "_create_version", race)
    assert put(store, package).version == 1
    assert [v.version for v in registry.list_versions(store)] == [1]


def test_a_file_that_did_not_arrive_whole_is_no_version(
    store: registry.Store, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lossy:
        def __init__(self, files: Any) -> None:
            self.list_artifacts = files.list_artifacts
            self.files = files

        def log_artifacts(self, folder: str, where: str) -> None:
            self.files.log_artifacts(folder, where)
            stored = Path(self.files.artifact_dir) / where / "model.safetensors"
            stored.write_bytes(stored.read_bytes()[:3])

    monkeypatch.setattr(versions, "open_artifacts", lambda *a: Lossy(open_artifacts(*a)))
    with pytest.raises(RegistryError, match=r"did not keep model\.safetensors whole"):
        put(store, package)
    assert registry.list_versions(store) == []


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
    with pytest.raises(PackageError, match=r"was altered in the registry .*: SHA256SUMS no longer"):
        registry.fetch(store, 1, tmp_path / "out")
    assert (tmp_path / "out/old").exists()


@pytest.mark.parametrize(
    "harm", [lambda f: f.write_text("tampered"), Path.unlink], ids=["altered", "lost"]
)
def test_registering_again_puts_back_what_was_altered_in_the_registry(
    store: registry.Store, package: Path, tmp_path: Path, harm: Callable[[Path], Any]
) -> None:
    version = put(store, package)
    harm(store.home / "artifacts" / version.run_id / "artifacts/model/model.safetensors")
    with pytest.raises(PackageError, match=r"model.safetensors .* register the model again"):
        registry.fetch(store, 1, tmp_path / "out")
    assert put(store, package).version == 1
    registry.fetch(store, 1, tmp_path / "out")


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
