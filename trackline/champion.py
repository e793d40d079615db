"""The champion: the pin by which a working tree knows it, and the promotion that replaces it.

champion.json is committed in git. DVC watches that file and not the registry, so that a promotion
reaches drift and gate like any other changed input, and an old revision of the project compares
with the champion of its day.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trackline import artifacts
from trackline.config import Registry
from trackline.errors import RegistryError
from trackline.registry import (
    CHAMPION,
    Store,
    Version,
    connect,
    explaining,
    fetch_to_cache,
    find_cache,
    find_version,
    is_intact,
    journal,
    list_aliases,
    list_versions,
    locked,
)

PIN = Path("champion.json")


@dataclass(frozen=True)
class Pin:
    """A registered model and the hash of its package's sums; nulls before the first promotion."""

    name: str
    version: int | None = None
    sha256: str | None = None


def read_pin(path: Path) -> Pin:
    """Read a pin; raises RegistryError when the file is missing or holds something else."""
    try:
        pin = Pin(**artifacts.read_json(path))
    except FileNotFoundError:
        raise RegistryError(f"{path} does not exist; restore it from git") from None
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError):
        pin = Pin("", -1)
    complete = type(pin.version) is int and pin.version > 0 and isinstance(pin.sha256, str)
    if not (complete or (pin.version is None and pin.sha256 is None)):
        raise RegistryError(
            f"{path} is no pin of a champion, which has name, version and sha256, the last two both "
            "set or both null; restore it from git"
        )
    return pin


def write_pin(path: Path, version: Version) -> None:
    """Pin a version."""
    artifacts.write_json(path, asdict(Pin(version.name, version.version, version.sha256)))


def fetch_champion(pin: Path, settings: Registry) -> Path | None:
    """Give the folder with the pinned champion's model/ and evaluation/; None when none is pinned.

    It stays at registry/cache/VERSION beside the pin, so the registry is asked once. Raises
    RegistryError or PackageError when the registry does not have exactly that champion.
    """
    wanted = read_pin(pin)
    if wanted.version is None or wanted.sha256 is None:
        return None
    root = pin.resolve().parent
    folder = find_cache(root, wanted.version)
    if not is_intact(folder / "model", wanted.sha256):
        store = connect(dataclasses.replace(settings, name=wanted.name), root)
        found = find_version(store, wanted.version)
        if found.sha256 != wanted.sha256:
            raise RegistryError(
                f"{pin} pins version {wanted.version} with hash {wanted.sha256[:12]}, but in {store} "
                f"it has {found.sha256[:12]}; use the registry that the pin was made with"
            )
        fetch_to_cache(store, wanted.version, root)
    return folder


def find_champion(store: Store) -> Version | None:
    """Find the champion, which the journal names; None before the first promotion."""
    return next((item for item in list_versions(store) if CHAMPION in item.aliases), None)


def promote(store: Store, number: int, expected: int | None, why: str, verdict: str) -> Version:
    """Make a version the champion, provided that the champion still is `expected`.

    Promoting the champion again changes nothing. Raises RegistryError when it is another by now.
    """
    return _move(store, number, expected, "promotion", why, verdict)


def roll_back(store: Store, number: int, expected: int | None, why: str, verdict: str) -> Version:
    """Return to an earlier champion, provided that the champion still is `expected`."""
    return _move(store, number, expected, "rollback", why, verdict)


def find_previous(store: Store, number: int | None = None) -> int:
    """The version a rollback leads to: the champion before this one, or `number` if it was one.

    Raises RegistryError when there is none.
    """
    with explaining(store.uri):
        past = [move.version for move in journal.find_past(journal.read(store))][:-1]
    if not past:
        raise RegistryError(f"{store.name} has no champion before the present one to return to")
    if number is not None and number not in past:
        raise RegistryError(
            f"version {number} of {store.name} was no champion before the present one; it can return to "
            f"{', '.join(map(str, sorted(set(past))))}, or be promoted"
        )
    return past[-1] if number is None else number


def find_unpinned(store: Store, pin: Pin) -> int | None:
    """The version to which a rollback has led that was killed before it could write this pin."""
    with explaining(store.uri):
        head = journal.find_head(journal.read(store))
    unpinned = head and head.kind == "rollback" and head.version != pin.version == head.was
    return head.version if head and unpinned else None


def list_moves(store: Store) -> list[dict[str, Any]]:
    """The audit trail: every promotion and rollback, those that came too late among them."""
    with explaining(store.uri):
        return [journal.describe(move, store.name) for move in journal.read(store)]


def _move(
    store: Store, number: int, expected: int | None, kind: journal.Kind, why: str, verdict: str
) -> Version:
    version = find_version(store, number)
    with explaining(store.uri), locked(store.home):
        head = journal.find_head(journal.read(store))
        current = head.version if head else None
        if current not in (number, expected):
            raise _overtaken(store, current, expected)
        if current != number:
            move = journal.append(store, head, version, kind, why, verdict)
            current = journal.find_head(journal.read(store)).version  # type: ignore[union-attr]
            if not move.counts and current != number:
                raise _overtaken(store, current, expected)
        settle(store)
    return find_version(store, number)


def settle(store: Store) -> None:
    """Let MLflow's alias and audit.jsonl follow the journal; finishes what a killed move left."""
    head = journal.find_head(journal.read(store))
    while head is not None:
        if list_aliases(store).get(CHAMPION) != head.version:
            store.client.set_registered_model_alias(store.name, CHAMPION, str(head.version))
        # Two moves may set the alias in the wrong order; whoever sees a newer head sets it again.
        latest = journal.find_head(journal.read(store))
        if latest == head:
            break
        head = latest
    _copy_trail(store)


def _overtaken(store: Store, current: int | None, expected: int | None) -> RegistryError:
    return RegistryError(
        f"the champion in {store} is {_name(current)}, not {_name(expected)} as champion.json says; "
        "update champion.json from git, run the pipeline again and promote then"
    )


def _name(version: int | None) -> str:
    return "none" if version is None else f"version {version}"


def _copy_trail(store: Store) -> None:
    """Add to audit.jsonl, for whoever has only the files, what it lacks of the journal."""
    trail = store.home / "audit.jsonl"
    lines = [json.dumps(move, ensure_ascii=False) for move in list_moves(store)]
    known = set(trail.read_text(encoding="utf-8").splitlines()) if trail.exists() else set()
    if missing := [f"{line}\n" for line in lines if line not in known]:
        trail.parent.mkdir(parents=True, exist_ok=True)
        with trail.open("a", encoding="utf-8") as file:
            file.writelines(missing)
            file.flush()
            os.fsync(file.fileno())
