"""The champion: the pin by which a working tree knows it, and the promotion that replaces it.

champion.json is committed in git. DVC watches that file and not the registry, so that a promotion
reaches drift and gate like any other changed input, and an old revision of the project compares
with the champion of its day.
"""

from __future__ import annotations

import dataclasses
import getpass
import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

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
    list_versions,
    locked,
    set_champion,
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
    """Find the version that the registry calls champion; None before the first promotion."""
    return next((item for item in list_versions(store) if CHAMPION in item.aliases), None)


def was_champion(version: Version) -> bool:
    """Whether a version is or once was the champion."""
    return "promoted_at" in version.tags


def promote(store: Store, number: int, expected: int | None, why: str, verdict: str) -> Version:
    """Make a version the champion, provided that the champion still is `expected`.

    The version's tags say who, when, why and which champion went before; audit.jsonl repeats it.
    Promoting the champion again changes nothing. Raises RegistryError when it is another by now.
    """
    with explaining(store.uri), locked(store.home):
        champion = find_champion(store)
        current = champion.version if champion else None
        if current not in (number, expected):
            raise RegistryError(
                f"the champion in {store} is version {current}, not {expected} as champion.json says; "
                "update champion.json from git, run the pipeline again and promote then"
            )
        if current != number:
            set_champion(store, number, _describe(current, why, verdict))
        promoted = find_version(store, number)
        if CHAMPION not in promoted.aliases:
            raise RegistryError(
                f"the champion was moved while version {number} was promoted; promote it again"
            )
        _append(store.home / "audit.jsonl", promoted)
    return promoted


def _describe(previous: int | None, why: str, verdict: str) -> dict[str, str]:
    return {
        "promoted_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "promoted_by": _find_user(),
        "promoted_why": why,
        "promoted_on_verdict": verdict,
        "previous_champion": "none" if previous is None else str(previous),
    }


def _append(trail: Path, promoted: Version) -> None:
    """Add a promotion to the audit trail, unless it is there since before an interruption."""
    tags = promoted.tags
    entry = {
        "when": tags["promoted_at"],
        "who": tags["promoted_by"],
        "model": promoted.name,
        "from": tags["previous_champion"],
        "to": str(promoted.version),
        "why": tags["promoted_why"],
        "verdict": tags["promoted_on_verdict"],
    }
    line = json.dumps(entry, ensure_ascii=False)
    with trail.open("a+", encoding="utf-8") as file:
        file.seek(0)
        if line not in file.read().splitlines():
            file.write(f"{line}\n")
            file.flush()
            os.fsync(file.fileno())


def _find_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user often has no name
        return f"uid {os.getuid()}"
