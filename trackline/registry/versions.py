"""Versions of a model: registered whole or not at all, found by number or alias, fetched verified.

A version is a run with the model package below `model/` and its evidence below `evaluation/HASH/`;
the version's tags name both hashes. It becomes visible in one step, after all its files are there.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from trackline import artifacts, signing
from trackline.errors import PackageError, RegistryError
from trackline.registry import journal
from trackline.registry.store import (
    Store,
    create_model,
    explaining,
    find_artifacts,
    locked,
    open_artifacts,
)

CANDIDATE, CHAMPION = "candidate", "champion"
PACKAGE_TAG, EVIDENCE_TAG, RUN_TAG = "sha256", "evaluation_sha256", "trackline.package"
ABANDONED_HOURS = 24  # after which an unfinished upload of another machine counts as dead


@dataclass(frozen=True)
class Version:
    """A registered model; `sha256` is the hash of its package's sums."""

    name: str
    version: int
    sha256: str
    run_id: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...] = ()
    created_ms: int = 0


def register(
    store: Store,
    package: Path,
    evidence: Mapping[str, Path],
    *,
    tags: Mapping[str, str],
    metrics: Mapping[str, float],
    curves: Mapping[str, list[float]],
) -> Version:
    """Store a package with its evidence {name: file} as a version, and make it the candidate.

    The same content keeps its version, gets the new evidence, and back what was altered of its files.
    `metrics` and `curves` {name: a value an epoch} go into the version's run. Raises PackageError or
    RegistryError.
    """
    sha256 = artifacts.verify(package)
    with explaining(store.uri), locked(store.home):
        known = _find_content(store, sha256)
        if known is None:
            run_id = _claim_run(store, sha256)
            _upload(store, run_id, package, "model")
            _sign(store, run_id, package)
            _log(store, run_id, metrics, curves)
            shown = {**tags, EVIDENCE_TAG: _upload_evidence(store, run_id, evidence)}
            number = _create_version(store, run_id, sha256, shown)
        else:
            number = known.version
            _mend(store, known, package)
            _replace_evidence(store, known, evidence, tags, metrics)
            _sign(store, known.run_id, package)
            _finish_run(store, known.run_id)
        store.client.set_registered_model_alias(store.name, CANDIDATE, str(number))
    return find_version(store, number)


def add_evidence(
    store: Store, version: Version, evidence: Mapping[str, Path], tags: Mapping[str, str]
) -> None:
    """Let a version rest on new evidence from now on, in one step."""
    with explaining(store.uri), locked(store.home):
        _replace_evidence(store, version, evidence, tags, {})


def list_versions(store: Store) -> list[Version]:
    """All versions that hold a package, the newest first; the champion is the journal's."""
    with explaining(store.uri):
        found = store.client.search_model_versions(f"name='{store.name}'")
        aliases = {k: v for k, v in list_aliases(store).items() if k != CHAMPION}
        if head := journal.find_head(journal.read(store)):
            aliases[CHAMPION] = head.version
    versions = [
        Version(
            name=store.name,
            version=int(item.version),
            sha256=item.tags[PACKAGE_TAG],
            run_id=item.run_id,
            tags=dict(item.tags),
            aliases=tuple(name for name, of in aliases.items() if of == int(item.version)),
            created_ms=int(item.creation_timestamp or 0),
        )
        for item in found
        if item.run_id and PACKAGE_TAG in item.tags
    ]
    return sorted(versions, key=lambda item: item.version, reverse=True)


def list_aliases(store: Store) -> dict[str, int]:
    """The aliases as MLflow has them."""
    models = store.client.search_registered_models(f"name='{store.name}'")
    return {name: int(of) for model in models for name, of in model.aliases.items()}


def find_version(store: Store, which: int | str) -> Version:
    """Find a version by number or alias; raises RegistryError naming those that exist."""
    versions = list_versions(store)
    for item in versions:
        if str(which) in (str(item.version), *item.aliases):
            return item
    known = ", ".join(" = ".join((str(v.version), *v.aliases)) for v in versions) or "none"
    raise RegistryError(
        f"{store.name} has no version {which}; the versions in {store} are: {known}"
    )


def resolve(store: Store, reference: int | str) -> tuple[Store, str]:
    """Split models:/NAME/VERSION, NAME@ALIAS, VERSION or ALIAS into the model and which of it."""
    match = re.fullmatch(r"(?:(?:models:/)?([\w.-]+)[@/])?([\w.-]+)", str(reference))
    if match is None:
        raise RegistryError(
            f"{reference!r} names no registered model; write models:/NAME/VERSION or "
            f"models:/NAME@ALIAS, as in models:/{store.name}@{CHAMPION}"
        )
    return dataclasses.replace(store, name=match[1] or store.name), match[2]


def fetch(store: Store, reference: int | str, out: Path) -> Version:
    """Place a version's package at out/model and its evidence at out/evaluation, or change nothing.

    `reference` is a number, or text like models:/tracker@champion or models:/tracker/3. Raises
    RegistryError when there is no such version, PackageError naming the files that were altered.
    """
    store, which = resolve(store, reference)
    version = find_version(store, which)
    with explaining(store.uri), artifacts.replacing_folder(out) as new:
        _download(store, version.run_id, "model", new / "model")
        _confirm_content(new / "model", version.sha256, f"version {version.version}", store)
        signing.confirm(new / "model", store.trust)
        _download_evidence(store, version, new / "evaluation")
    return version


def read_file(store: Store, version: Version, name: str) -> bytes:
    """One file of a version's package, checked against its sums, without the rest of it."""
    with explaining(store.uri), TemporaryDirectory() as folder:
        files = open_artifacts(store, version.run_id)
        sums, file = (
            Path(files.download_artifacts(f"model/{part}", dst_path=folder))
            for part in (artifacts.SUMS, name)
        )
        listed = artifacts.read_sums(sums)
        if artifacts.sha256(sums) != version.sha256 or listed.get(name) != artifacts.sha256(file):
            raise _altered(f"version {version.version}", store, [name])
        return file.read_bytes()


def read_evidence(store: Store, version: Version, folder: Path) -> Path:
    """Place a version's evidence in a new folder, checked against its hash; returns that folder."""
    with explaining(store.uri):
        _download_evidence(store, version, folder)
    return folder


def is_intact(package: Path, sha256: str) -> bool:
    """Whether a folder holds exactly the package with that hash of its sums."""
    sums = package / artifacts.SUMS
    return (
        sums.is_file() and artifacts.sha256(sums) == sha256 and not artifacts.find_altered(package)
    )


def _find_content(store: Store, sha256: str) -> Version | None:
    """The version with that content; the oldest, where two machines registered it at once."""
    same = [item for item in list_versions(store) if item.sha256 == sha256]
    return same[-1] if same else None


def _claim_run(store: Store, sha256: str) -> str:
    """Take up the unfinished run of this content, or make one; clear away what others left behind.

    Runs are made by explicit ids, as the environment may name a run of whoever started us.
    """
    client = store.client
    experiment = client.get_experiment_by_name(store.name)
    location = str(store.home / "artifacts") if store.embedded else None
    number = (
        experiment.experiment_id if experiment else client.create_experiment(store.name, location)
    )
    registered = {version.run_id for version in list_versions(store)}
    mine = None
    for run in client.search_runs([number], f"tags.`{RUN_TAG}` != '' and status = 'RUNNING'"):
        age_hours = (time.time() - run.info.start_time / 1000) / 3600
        if run.info.run_id in registered:
            client.set_terminated(run.info.run_id)
        elif run.data.tags[RUN_TAG] == sha256:
            mine = run.info.run_id
        # Whoever holds the lock of an embedded registry knows that nobody else is at work.
        elif store.embedded or age_hours > ABANDONED_HOURS:
            _discard_run(store, run.info.run_id)
    if mine:
        return str(mine)
    parent = os.environ.get("MLFLOW_RUN_ID")
    tags = {RUN_TAG: sha256, **({"mlflow.parentRunId": parent} if parent else {})}
    made = client.create_run(number, tags=tags, run_name=f"{store.name} {sha256[:8]}")
    return str(made.info.run_id)


def _finish_run(store: Store, run_id: str) -> None:
    """End the run of a version, which a killed registration may have left open."""
    if store.client.get_run(run_id).info.status == "RUNNING":
        store.client.set_terminated(run_id)


def _discard_run(store: Store, run_id: str) -> None:
    """Remove what a killed registration left; on a server `mlflow gc` frees the storage."""
    if store.embedded:
        shutil.rmtree(Path(find_artifacts(store, run_id)).parent, ignore_errors=True)
    store.client.set_terminated(run_id, "KILLED")
    store.client.delete_run(run_id)


def _create_version(store: Store, run_id: str, sha256: str, tags: Mapping[str, str]) -> int:
    """Make the version visible; where another machine was faster with this content, yield to it."""
    client = store.client
    create_model(store, store.name)
    source = f"{find_artifacts(store, run_id)}/model"
    made = client.create_model_version(
        store.name, source, run_id=run_id, tags={**tags, PACKAGE_TAG: sha256}
    )
    client.set_terminated(run_id)
    # MLflow numbers versions one after the other, so that the later of two sees the earlier.
    first = _find_content(store, sha256)
    if first is not None and first.version != int(made.version):
        client.delete_model_version(store.name, made.version)
        return first.version
    return int(made.version)


def _mend(store: Store, version: Version, package: Path) -> None:
    """Put back the files of a version that were altered or lost where they are stored."""
    with TemporaryDirectory() as folder:
        held = Path(folder) / "model"
        _download(store, version.run_id, "model", held)
        intact = is_intact(held, version.sha256)
    if not intact:
        _upload(store, version.run_id, package, "model")


def _replace_evidence(
    store: Store,
    version: Version,
    evidence: Mapping[str, Path],
    tags: Mapping[str, str],
    metrics: Mapping[str, float],
) -> None:
    sha256 = _upload_evidence(store, version.run_id, evidence)
    _log(store, version.run_id, metrics, {})
    for name, value in {**tags, EVIDENCE_TAG: sha256}.items():  # the tag that counts comes last
        if version.tags.get(name) != value:
            store.client.set_model_version_tag(store.name, str(version.version), name, value)


def _upload_evidence(store: Store, run_id: str, evidence: Mapping[str, Path]) -> str:
    """Store the evidence under its own hash, so that what a version rests on is never overwritten."""
    with TemporaryDirectory() as staging:
        for name, source in evidence.items():
            shutil.copyfile(source, Path(staging) / name)
        sha256 = artifacts.write_sums(Path(staging))
        _upload(store, run_id, Path(staging), f"evaluation/{sha256}")
    return sha256


def _upload(store: Store, run_id: str, folder: Path, where: str) -> None:
    """Upload a folder, and see that every file arrived with its size."""
    files = open_artifacts(store, run_id)
    files.log_artifacts(str(folder), where)
    wanted = {
        p.relative_to(folder).as_posix(): p.stat().st_size for p in folder.rglob("*") if p.is_file()
    }
    found = {file.path.removeprefix(f"{where}/"): file.file_size for file in _walk(files, where)}
    if missing := sorted(name for name, size in wanted.items() if found.get(name) != size):
        raise RegistryError(
            f"the registry {store} did not keep {', '.join(missing)} whole; run the step again"
        )


def _sign(store: Store, run_id: str, package: Path) -> None:
    """Add the signature to an uploaded package, where TRACKLINE_SIGNING_KEY asks for one."""
    if key := os.environ.get("TRACKLINE_SIGNING_KEY"):
        with TemporaryDirectory() as folder:
            signing.sign(package, key, Path(folder) / artifacts.SIGNATURE)
            _upload(store, run_id, Path(folder), "model")


def _walk(files: Any, where: str) -> list[Any]:
    found = []
    for item in files.list_artifacts(where):
        found += _walk(files, item.path) if item.is_dir else [item]
    return found


def _download(store: Store, run_id: str, where: str, out: Path) -> None:
    with TemporaryDirectory(dir=out.parent) as folder:
        found = open_artifacts(store, run_id).download_artifacts(where, dst_path=folder)
        Path(found).rename(out)


def _download_evidence(store: Store, version: Version, out: Path) -> None:
    sha256 = version.tags.get(EVIDENCE_TAG, "")
    _download(store, version.run_id, f"evaluation/{sha256}", out)
    _confirm_content(out, sha256, f"the evidence of version {version.version}", store)


def _confirm_content(folder: Path, sha256: str, what: str, store: Store) -> None:
    """Raise PackageError naming the files of a download that are not those registered."""
    sums = folder / artifacts.SUMS
    altered = artifacts.find_altered(folder) if sums.is_file() else [artifacts.SUMS]
    if not altered and artifacts.sha256(sums) != sha256:
        altered = [artifacts.SUMS]
    if altered:
        raise _altered(what, store, altered)


def _altered(what: str, store: Store, names: list[str]) -> PackageError:
    return PackageError(
        f"{what} of {store.name} was altered in the registry {store}: {', '.join(names)} no longer "
        "matches the registered hash, so register the model again"
    )


def _log(
    store: Store, run_id: str, metrics: Mapping[str, float], curves: Mapping[str, list[float]]
) -> None:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    points = [Metric(name, value, now, 0) for name, value in metrics.items()]
    for name, values in curves.items():
        points += [Metric(name, value, now, epoch) for epoch, value in enumerate(values)]
    finite = [point for point in points if math.isfinite(point.value)]
    for start in range(0, len(finite), 1000):  # as many as MLflow takes at once
        store.client.log_batch(run_id, metrics=finite[start : start + 1000])
