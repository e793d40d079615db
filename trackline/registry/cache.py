"""Fetched versions kept on this machine: verified again each time, usable when the registry is away."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from trackline import artifacts, signing
from trackline.config import Registry, Trust
from trackline.errors import RegistryError, RegistryUnreachable
from trackline.redaction import redact
from trackline.registry import bucket
from trackline.registry.store import (
    Store,
    connect,
    explaining,
    find_uri,
    locked,
)
from trackline.registry.versions import EVIDENCE_TAG, fetch, find_version, is_intact, resolve


def find_home() -> Path:
    """The folder for fetched models: TRACKLINE_CACHE, or trackline/ in the user's cache folder."""
    if given := os.environ.get("TRACKLINE_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trackline"


def locate(reference: str, settings: Registry | None = None, root: Path = Path()) -> Path:
    """Give the folder of a version's package, verified; `reference` as for `fetch`, or s3://….

    It stays in the cache. When the registry is out of reach, the reference means what it meant the
    last time on this machine, which a line on stderr says.
    """
    settings = settings or Registry()
    trust = signing.find_trust(settings.trust)
    if reference.startswith("s3://"):
        return _locate_in_bucket(reference, trust)
    note = find_home() / "references" / artifacts.digest([find_uri(settings), reference])
    try:
        store, which = resolve(connect(settings, root, create=False), reference)
        version = find_version(store, which)
    except RegistryUnreachable as error:
        return _recall(note, reference, error, trust)
    folder = find_home() / "models" / version.sha256
    if not _holds(folder, version.sha256, trust):
        with explaining(str(folder)), locked(folder.parent):
            if not _holds(folder, version.sha256, trust):
                fetch(store, version.version, folder)
    artifacts.write_json(note, {"is": f"version {version.version}", "sha256": version.sha256})
    return _confirm(folder / "model", trust)


def fetch_to_cache(store: Store, number: int, root: Path) -> Path:
    """Fetch a version into the project's cache, again when it is there; return that folder.

    What is there already stays in place, as another process may be reading it.
    """
    folder = find_cache(root, number)
    with (
        explaining(str(folder)),
        locked(folder.parent),
        TemporaryDirectory(dir=folder.parent) as scratch,
    ):
        version = fetch(store, number, Path(scratch) / "version")
        evidence = version.tags[EVIDENCE_TAG]
        if not (
            is_intact(folder / "model", version.sha256)
            and is_intact(folder / "evaluation", evidence)
        ):
            with artifacts.replacing_folder(folder) as new:
                shutil.copytree(Path(scratch) / "version", new, dirs_exist_ok=True)
    return folder


def find_cache(root: Path, number: int) -> Path:
    """Where a project keeps a fetched version: its package in model/, its evidence in evaluation/."""
    return root / "registry" / "cache" / str(number)


def _locate_in_bucket(address: str, trust: Trust) -> Path:
    note = find_home() / "references" / artifacts.digest([address])
    try:
        sums = bucket.read_sums(address)
    except RegistryUnreachable as error:
        return _recall(note, address, error, trust)
    sha256 = hashlib.sha256(sums).hexdigest()
    folder = find_home() / "models" / sha256
    if not _holds(folder, sha256, trust):
        with locked(folder.parent):
            bucket.fetch(address, sums, folder / "model")
    artifacts.write_json(note, {"is": f"the package {sha256[:12]}", "sha256": sha256})
    return _confirm(folder / "model", trust)


def _holds(folder: Path, sha256: str, trust: Trust) -> bool:
    """Whether a package is there, with its signature where one will be asked for: it may have come later."""
    signed = (folder / "model" / artifacts.SIGNATURE).exists() or trust == Trust()
    return signed and is_intact(folder / "model", sha256)


def _confirm(package: Path, trust: Trust) -> Path:
    signing.confirm(package, trust)
    return package


def _recall(note: Path, reference: str, error: RegistryError, trust: Trust) -> Path:
    """What a reference meant before the registry went away; raises the error when that is unknown."""
    if not note.is_file():
        raise error
    known = artifacts.read_json(note)
    folder = find_home() / "models" / str(known["sha256"]) / "model"
    if not is_intact(folder, known["sha256"]):
        raise error
    print(
        redact(f"warning: {error}; {reference} is taken to be {known['is']} as before"),
        file=sys.stderr,
    )
    return _confirm(folder, trust)
