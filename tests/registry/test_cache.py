"""Models are fetched once, checked whenever they are used, and there while the registry is away."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.registry.conftest import put
from tests.test_signing import make_keys
from trackline import artifacts, registry
from trackline.errors import PackageError, RegistryError, RegistryUnreachable
from trackline.registry import cache


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


def test_a_located_model_altered_on_this_machine_is_fetched_again(
    store: registry.Store, package: Path, located: Path
) -> None:
    (located / "model.safetensors").write_text("altered")
    again = registry.locate(f"models:/{store.name}@candidate")
    assert artifacts.verify(again) == artifacts.verify(package)


def test_a_fetched_version_that_holds_is_not_swapped_under_whoever_reads_it(
    store: registry.Store, package: Path, tmp_path: Path
) -> None:
    put(store, package, note="1")
    before = (registry.fetch_to_cache(store, 1, tmp_path) / "model").stat().st_ino
    assert (registry.fetch_to_cache(store, 1, tmp_path) / "model").stat().st_ino == before
    put(store, package, note="2")
    folder = registry.fetch_to_cache(store, 1, tmp_path)
    assert (folder / "evaluation/gate.json").read_text() == "2"


def test_looking_for_a_model_makes_no_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKLINE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(RegistryError, match="there is no registry at"):
        registry.locate("models:/tracker@champion", root=tmp_path)
    assert list(tmp_path.iterdir()) == []
