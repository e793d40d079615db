"""Versions go into the registry once, come out verified, and survive what surrounds them."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.test_signing import make_keys
from trackline import artifacts, registry
from trackline.config import Registry
from trackline.errors import PackageError, RegistryError, RegistryUnreachable
from trackline.registry import cache, versions
from trackline.registry.store import open_artifacts


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


def test_a_server_that_is_down_is_named_with_what_the_system_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(
        RegistryUnreachable, match=r"127.0.0.1:9 cannot be used \(connection refused\)"
    ):
        registry.connect(Registry(), tmp_path)


def test_a_sqlite_registry_asks_the_library_alone_for_the_rest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("trackline.registry.store.find_spec", lambda _: None)
    with pytest.raises(RegistryError, match=r"pip install 'trackline\[pipeline\]'"):
        registry.connect(Registry(), tmp_path)


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


@pytest.fixture
def located(
    store: registry.Store, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A model loaded once, in a folder that has nothing to do with the project."""
    put(store, package)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    monkeypatch.setenv("TRACKLINE_CACHE", str(tmp_path / "cache"))
    return registry.locate(f"models:/{store.name}@candidate", root=tmp_path)


def test_a_located_model_is_fetched_once(
    store: registry.Store, package: Path, located: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert artifacts.verify(located) == artifacts.verify(package)
    monkeypatch.setattr(cache, "fetch", None)
    assert registry.locate(f"models:/{store.name}@candidate") == located


def test_a_located_model_is_there_when_the_registry_is_not(
    store: registry.Store, located: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def away(*_: object, **__: object) -> None:
        raise RegistryUnreachable("the registry is away")

    monkeypatch.setattr(cache, "connect", away)
    assert registry.locate(f"models:/{store.name}@candidate") == located
    assert "is taken to be version 1 as before" in capsys.readouterr().err
    with pytest.raises(RegistryUnreachable):
        registry.locate("models:/never-seen@champion")
    (located / "model.safetensors").write_text("altered")
    with pytest.raises(RegistryUnreachable):
        registry.locate(f"models:/{store.name}@candidate")


def test_a_signature_that_came_after_a_model_was_located_is_fetched(
    store: registry.Store, package: Path, located: Path, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    private, public = make_keys(tmp_path)
    monkeypatch.setenv("TRACKLINE_TRUSTED_KEY", str(public))
    with pytest.raises(PackageError, match=r"has no model\.sig"):
        registry.locate(f"models:/{store.name}@candidate")
    monkeypatch.setenv("TRACKLINE_SIGNING_KEY", str(private))
    put(store, package)
    assert (registry.locate(f"models:/{store.name}@candidate") / "model.sig").exists()


def test_a_fetched_version_that_holds_is_not_swapped_under_whoever_reads_it(
    store: registry.Store, package: Path, tmp_path: Path
) -> None:
    put(store, package, note="1")
    before = (registry.fetch_to_cache(store, 1, tmp_path) / "model").stat().st_ino
    assert (registry.fetch_to_cache(store, 1, tmp_path) / "model").stat().st_ino == before
    put(store, package, note="2")
    folder = registry.fetch_to_cache(store, 1, tmp_path)
    assert (folder / "evaluation/gate.json").read_text() == "2"


def test_a_located_model_altered_on_this_machine_is_fetched_again(
    store: registry.Store, package: Path, located: Path
) -> None:
    (located / "model.safetensors").write_text("altered")
    again = registry.locate(f"models:/{store.name}@candidate")
    assert artifacts.verify(again) == artifacts.verify(package)


def test_looking_for_a_model_makes_no_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKLINE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(RegistryError, match="there is no registry at"):
        registry.locate("models:/tracker@champion", root=tmp_path)
    assert list(tmp_path.iterdir()) == []


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
