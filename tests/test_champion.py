"""The pin says which champion counts, and a promotion moves it only from there."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trackline import artifacts, champion, registry
from trackline.config import Registry
from trackline.errors import RegistryError
from trackline.registry import inventory, journal


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[registry.Store]:
    """One registry for all tests of this file, as making its tables takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("project")
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        yield registry.connect(Registry())


@pytest.fixture
def store(shared: registry.Store, tmp_path: Path) -> registry.Store:
    """A model with the versions 1 and 2 for each test."""
    made = dataclasses.replace(shared, name=tmp_path.name)
    for weights in ("first", "second"):
        package = tmp_path / weights
        package.mkdir()
        (package / "model.safetensors").write_text(weights)
        artifacts.write_sums(package)
        note = {"model.json": package / "model.safetensors"}
        registry.register(made, package, note, tags={}, metrics={}, curves={})
    return made


def read_trail(store: registry.Store) -> list[dict[str, Any]]:
    """The audit trail of one model."""
    lines = (store.home / "audit.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["model"] == store.name]


def test_nothing_is_champion_before_the_first_promotion(store: registry.Store) -> None:
    assert champion.find_champion(store) is None


def test_a_promotion_moves_the_alias_and_leaves_a_trail(store: registry.Store) -> None:
    champion.promote(store, 1, None, "the first", "accepted")
    promoted = champion.promote(store, 2, 1, "more data", "accepted (better)")
    assert champion.find_champion(store) == promoted
    assert promoted.version == 2
    first, second = read_trail(store)
    assert (first["from"], first["to"]) == (None, 1)
    assert (second["from"], second["to"]) == (1, 2)
    assert (second["why"], second["verdict"]) == ("more data", "accepted (better)")
    assert second["who"]
    assert second["when"] > first["when"]


def test_a_champion_that_somebody_else_moved_is_not_overwritten(store: registry.Store) -> None:
    champion.promote(store, 1, None, "", "accepted")
    with pytest.raises(RegistryError, match=r"is version 1, not none as champion\.json says"):
        champion.promote(store, 2, None, "", "accepted")
    found = champion.find_champion(store)
    assert found is not None
    assert found.version == 1
    assert len(read_trail(store)) == 1


def test_promoting_the_champion_again_changes_nothing(store: registry.Store) -> None:
    champion.promote(store, 1, None, "", "accepted")
    champion.promote(store, 1, None, "another reason", "accepted")
    assert len(read_trail(store)) == 1


def test_a_promotion_that_was_killed_before_its_line_is_finished_by_the_next(
    store: registry.Store,
) -> None:
    champion.promote(store, 1, None, "", "accepted")
    trail = store.home / "audit.jsonl"
    trail.write_text("".join(trail.read_text().splitlines(keepends=True)[:-1]))
    champion.promote(store, 1, None, "", "accepted")
    assert [line["to"] for line in read_trail(store)] == [1]


def test_a_rollback_goes_back_one_champion_after_the_other(store: registry.Store) -> None:
    champion.promote(store, 1, None, "", "accepted")
    champion.promote(store, 2, 1, "", "accepted")
    assert champion.find_previous(store) == 1
    champion.roll_back(store, 1, 2, "it stutters", "accepted")
    kinds = [(line["kind"], line["from"], line["to"]) for line in read_trail(store)]
    assert kinds == [("promotion", None, 1), ("promotion", 1, 2), ("rollback", 2, 1)]
    with pytest.raises(RegistryError, match="no champion before the present one"):
        champion.find_previous(store)
    champion.promote(store, 2, 1, "again", "accepted")
    assert champion.find_previous(store) == 1
    with pytest.raises(RegistryError, match=r"version 2 of .* was no champion before"):
        champion.find_previous(store, 2)


def race(store: registry.Store, monkeypatch: pytest.MonkeyPatch, other: int) -> None:
    """Let another machine, which holds no lock of ours, promote `other` just before our entry."""
    append = journal.append

    def overtaken(*arguments: Any) -> journal.Move:
        monkeypatch.setattr(journal, "append", append)
        append(arguments[0], arguments[1], registry.find_version(store, other), *arguments[3:])
        return append(*arguments)

    monkeypatch.setattr(journal, "append", overtaken)


def test_of_two_promotions_at_once_the_first_counts_and_the_second_loses_cleanly(
    store: registry.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    race(store, monkeypatch, other=2)
    with pytest.raises(RegistryError, match="is version 2, not none"):
        champion.promote(store, 1, None, "too late", "accepted")
    champion.settle(store)
    found = champion.find_champion(store)
    assert found is not None
    assert found.version == 2
    assert registry.list_aliases(store)["champion"] == 2
    assert [(m["to"], m["outcome"]) for m in champion.list_moves(store)] == [
        (2, "done"),
        (1, "overtaken"),
    ]
    champion.promote(store, 1, 2, "now", "accepted")
    assert journal.find_faults(journal.read(store)) == []


def test_two_promotions_of_the_same_version_at_once_both_succeed(
    store: registry.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    race(store, monkeypatch, other=1)
    assert champion.promote(store, 1, None, "", "accepted").version == 1


def test_a_promotion_killed_before_the_alias_moved_is_finished_by_the_next(
    store: registry.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(champion, "settle", lambda _: None)
        champion.promote(store, 1, None, "", "accepted")
    assert "champion" not in registry.list_aliases(store)
    assert registry.find_version(store, "champion").version == 1  # the journal decides
    champion.promote(store, 1, None, "", "accepted")
    assert registry.list_aliases(store)["champion"] == 1
    assert len(read_trail(store)) == 1


def test_an_alias_moved_by_hand_decides_nothing_and_shows(store: registry.Store) -> None:
    champion.promote(store, 1, None, "", "accepted")
    store.client.set_registered_model_alias(store.name, "champion", "2")
    assert registry.find_version(store, "champion").version == 1
    assert "names 2, the journal 1" in inventory.verify_journal(store)[0]
    champion.settle(store)
    assert inventory.verify_journal(store) == []


def test_a_journal_that_was_altered_or_cut_shows(store: registry.Store) -> None:
    for number, expected in ((1, None), (2, 1), (1, 2)):
        champion.promote(store, number, expected, "", "accepted")
    name = journal.name_journal(store)
    store.client.set_model_version_tag(name, "1", "why", "another story")
    assert (
        "entry 2 of the journal of champions does not follow" in inventory.verify_journal(store)[0]
    )
    store.client.delete_model_version(name, "2")
    faults = " ".join(inventory.verify_journal(store))
    assert "entry 2 of the journal of champions is missing" in faults


def test_an_unknown_version_is_not_promoted(store: registry.Store) -> None:
    with pytest.raises(RegistryError):
        champion.promote(store, 9, None, "", "accepted")
    assert champion.find_champion(store) is None


def test_the_pinned_champion_is_fetched_once_and_then_kept(
    store: registry.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin = tmp_path / "champion.json"
    champion.write_pin(pin, registry.find_version(store, 1))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    folder = champion.fetch_champion(pin, Registry(store.name))
    assert folder == tmp_path / "registry/cache/1"
    assert (folder / "model/model.safetensors").read_text() == "first"
    assert (folder / "evaluation/model.json").exists()
    monkeypatch.setattr(champion, "connect", None)
    assert champion.fetch_champion(pin, Registry(store.name)) == folder


def test_a_kept_champion_that_was_altered_is_fetched_again(
    store: registry.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin = tmp_path / "champion.json"
    champion.write_pin(pin, registry.find_version(store, 1))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    folder = champion.fetch_champion(pin, Registry(store.name))
    assert folder is not None
    (folder / "model/model.safetensors").write_text("altered")
    champion.fetch_champion(pin, Registry(store.name))
    assert (folder / "model/model.safetensors").read_text() == "first"


def test_a_registry_with_another_model_of_that_version_is_refused(
    store: registry.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin = tmp_path / "champion.json"
    artifacts.write_json(pin, {"name": store.name, "version": 1, "sha256": "f" * 64})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    with pytest.raises(RegistryError, match="use the registry that the pin was made with"):
        champion.fetch_champion(pin, Registry(store.name))


def test_without_a_champion_no_registry_is_asked(tmp_path: Path) -> None:
    pin = tmp_path / "champion.json"
    artifacts.write_json(pin, {"name": "tracker", "version": None, "sha256": None})
    assert champion.fetch_champion(pin, Registry(uri="sqlite:////nowhere/at/all.db")) is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "3",
        '{"version": 1}',
        '{"name": "tracker", "version": 1, "sha256": null}',
        '{"name": "tracker", "version": null, "sha256": "ab"}',
        '{"name": "tracker", "version": "1", "sha256": "ab"}',
        '{"name": "tracker", "version": 1, "sha256": "ab", "alias": "x"}',
    ],
)
def test_a_broken_pin_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "champion.json").write_text(content)
    with pytest.raises(RegistryError, match="is no pin of a champion"):
        champion.read_pin(tmp_path / "champion.json")
