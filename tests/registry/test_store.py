"""A registry is made once, may move, and says in one sentence why it cannot be used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.registry.conftest import pack, put
from trackline import registry
from trackline.config import Registry
from trackline.errors import PackageError, RegistryError, RegistryUnreachable


def test_a_registry_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "registry").write_text("a file where the folder should be")
    with pytest.raises(RegistryError, match=r"sqlite:///registry/mlflow\.db cannot be used"):
        registry.connect(Registry(), tmp_path)


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry/mlflow.db").write_text("not a database, by any means" * 100)
    with pytest.raises(RegistryError, match="not a database"):
        registry.connect(Registry(), tmp_path)


def test_a_server_that_is_down_is_named_with_the_reason_and_without_the_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://someone:secret@127.0.0.1:9")
    reason = r"http://127\.0\.0\.1:9 cannot be used \(connection refused\)"
    with pytest.raises(RegistryUnreachable, match=reason) as error:
        registry.connect(Registry(), tmp_path)
    assert "secret" not in str(error.value)


def test_a_sqlite_registry_asks_the_library_alone_for_the_rest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("trackline.registry.store.find_spec", lambda _: None)
    with pytest.raises(RegistryError, match=r"pip install 'trackline\[pipeline\]'"):
        registry.connect(Registry(), tmp_path)


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
            cwd=Path(__file__).parents[2],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for racer in racers:
        _, error = racer.communicate(timeout=120)
        assert (racer.returncode, error) == (0, "")


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
