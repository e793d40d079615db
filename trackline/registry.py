"""The model registry: MLflow's, seen as numbered versions of one model; the only home of mlflow.

A version is a run with the model package below `model/` and its evidence below `evaluation/`. The
alias `candidate` names what passed the gates last, the alias `champion` what is in use. A registry
that is a SQLite file keeps its artifacts beside it, so that its folder can be moved as a whole.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from trackline import artifacts
from trackline.config import Registry
from trackline.errors import PackageError, RegistryError, TracklineError

CANDIDATE, CHAMPION = "candidate", "champion"
SQLITE = "sqlite:///"
FOREIGN = ("mlflow", "sqlalchemy")  # the packages whose exceptions mean trouble with the store
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # with MLflow's own 7 a dead server takes 4 minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


@dataclass(frozen=True)
class Store:
    """An open registry; `home` holds its lock and audit trail, and the artifacts of a SQLite one."""

    client: Any
    name: str
    uri: str
    home: Path

    def __str__(self) -> str:
        return hide_password(self.uri)


@dataclass(frozen=True)
class Version:
    """A registered model; `sha256` is the hash of its package's sums."""

    name: str
    version: int
    sha256: str
    run_id: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...] = ()


def connect(settings: Registry, root: Path = Path()) -> Store:
    """Open the registry, creating a SQLite one below `root`; raises RegistryError when it cannot."""
    uri = find_uri(settings)
    with explaining(uri):
        if not uri.startswith(SQLITE):
            return Store(_open(uri), settings.name, uri, root.resolve() / "registry")
        file = (root / uri.removeprefix(SQLITE)).resolve()
        # Two processes that make the tables of a new file at the same time break it.
        with locked(file.parent):
            return Store(_open(f"{SQLITE}{file}"), settings.name, f"{SQLITE}{file}", file.parent)


def find_uri(settings: Registry) -> str:
    """Where the registry is; MLFLOW_TRACKING_URI wins over the parameters."""
    return os.environ.get("MLFLOW_TRACKING_URI") or settings.uri


def hide_password(text: str) -> str:
    """Leave user and password out of the addresses in a text."""
    return re.sub(r"//[^/@\s]*@", "//", text)


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

    The same content keeps its version and gets the new evidence. `metrics` and `curves` {name: a
    value an epoch} go into the version's run. Raises PackageError or RegistryError.
    """
    sha256 = artifacts.verify(package)
    with explaining(store.uri), locked(store.home):
        known = next((item for item in list_versions(store) if item.sha256 == sha256), None)
        run_id = known.run_id if known else _create_run(store, f"{store.name} {sha256[:8]}")
        _upload(store, run_id, None if known else package, evidence)
        _log(store, run_id, metrics, {} if known else curves)
        number = known.version if known else _create_version(store, run_id, sha256, tags)
        store.client.set_registered_model_alias(store.name, CANDIDATE, str(number))
    return find_version(store, number)


def list_versions(store: Store) -> list[Version]:
    """All versions that hold a package, the newest first."""
    with explaining(store.uri):
        found = store.client.search_model_versions(f"name='{store.name}'")
        aliases = _list_aliases(store)
    versions = [
        Version(
            name=store.name,
            version=int(item.version),
            sha256=item.tags["sha256"],
            run_id=item.run_id,
            tags=dict(item.tags),
            aliases=tuple(name for name, of in aliases.items() if of == int(item.version)),
        )
        for item in found
        if item.run_id and "sha256" in item.tags
    ]
    return sorted(versions, key=lambda item: item.version, reverse=True)


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


def fetch(store: Store, reference: int | str, out: Path) -> Version:
    """Place a version's package at out/model and its evidence at out/evaluation, or change nothing.

    `reference` is a number, or text like models:/tracker@champion or models:/tracker/3. Raises
    RegistryError when there is no such version, PackageError when it was altered.
    """
    store, which = _resolve(store, reference)
    version = find_version(store, which)
    with explaining(store.uri), artifacts.replacing_folder(out) as new:
        files = _open_artifacts(store, version.run_id)
        for part in ("model", "evaluation"):
            files.download_artifacts(part, dst_path=str(new))
        if not is_intact(new / "model", version.sha256):
            raise PackageError(
                f"version {version.version} of {version.name} was altered in the registry {store}; "
                "its files no longer match its hash, so register the model again"
            )
    return version


def locate(reference: str, settings: Registry | None = None, root: Path = Path()) -> Path:
    """Give the folder of a version's package, verified; `reference` as for fetch.

    It stays at registry/cache/VERSION below `root`, for the next time.
    """
    store, which = _resolve(connect(settings or Registry(), root), reference)
    version = find_version(store, which)
    folder = find_cache(root, version.version)
    if not is_intact(folder / "model", version.sha256):
        fetch_to_cache(store, version.version, root)
    return folder / "model"


def fetch_to_cache(store: Store, number: int, root: Path) -> Path:
    """Fetch a version into the cache, again when it is there; return that folder."""
    folder = find_cache(root, number)
    with explaining(str(folder)), locked(folder.parent):
        fetch(store, number, folder)
    return folder


def find_cache(root: Path, number: int) -> Path:
    """Where a fetched version is kept: its package in model/, its evidence in evaluation/."""
    return root / "registry" / "cache" / str(number)


def _resolve(store: Store, reference: int | str) -> tuple[Store, str]:
    match = re.fullmatch(r"(?:(?:models:/)?([\w.-]+)[@/])?([\w.-]+)", str(reference))
    if match is None:
        raise RegistryError(
            f"{reference!r} names no registered model; write models:/NAME/VERSION or "
            f"models:/NAME@ALIAS, as in models:/{store.name}@{CHAMPION}"
        )
    return dataclasses.replace(store, name=match[1] or store.name), match[2]


def _create_run(store: Store, title: str) -> str:
    """Make a run by explicit ids, as the environment may name a run of whoever started us."""
    client = store.client
    experiment = client.get_experiment_by_name(store.name)
    location = str(store.home / "artifacts") if store.uri.startswith(SQLITE) else None
    number = (
        experiment.experiment_id if experiment else client.create_experiment(store.name, location)
    )
    parent = os.environ.get("MLFLOW_RUN_ID")
    tags = {"mlflow.parentRunId": parent} if parent else {}
    return str(client.create_run(number, tags=tags, run_name=title).info.run_id)


def _create_version(store: Store, run_id: str, sha256: str, tags: Mapping[str, str]) -> int:
    client = store.client
    if not client.search_registered_models(f"name='{store.name}'"):
        client.create_registered_model(store.name)
    source = f"{_find_artifacts(store, run_id)}/model"
    made = client.create_model_version(
        store.name, source, run_id=run_id, tags={**tags, "sha256": sha256}
    )
    client.set_terminated(run_id)
    return int(made.version)


def _upload(store: Store, run_id: str, package: Path | None, evidence: Mapping[str, Path]) -> None:
    files = _open_artifacts(store, run_id)
    if package is not None:
        files.log_artifacts(str(package), "model")
    with TemporaryDirectory() as staging:
        for name, source in evidence.items():
            shutil.copyfile(source, Path(staging) / name)
        files.log_artifacts(staging, "evaluation")


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


def set_champion(store: Store, number: int, tags: Mapping[str, str]) -> None:
    """Tag a version and move the champion's alias to it; `champion.promote` knows when one may."""
    for key, value in tags.items():
        store.client.set_model_version_tag(store.name, str(number), key, value)
    store.client.set_registered_model_alias(store.name, CHAMPION, str(number))


def _list_aliases(store: Store) -> dict[str, int]:
    models = store.client.search_registered_models(f"name='{store.name}'")
    return {name: int(of) for model in models for name, of in model.aliases.items()}


def _open_artifacts(store: Store, run_id: str) -> Any:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(_find_artifacts(store, run_id), tracking_uri=store.uri)


def _find_artifacts(store: Store, run_id: str) -> str:
    """The root of a run's files; SQLite remembers absolute paths, which a moved folder outlives."""
    if store.uri.startswith(SQLITE):
        return str(store.home / "artifacts" / run_id / "artifacts")
    return str(store.client.get_run(run_id).info.artifact_uri)


def is_intact(package: Path, sha256: str) -> bool:
    """Whether a folder holds exactly the package with that hash of its sums."""
    sums = package / artifacts.SUMS
    return (
        sums.is_file() and artifacts.sha256(sums) == sha256 and not artifacts.find_altered(package)
    )


def _open(uri: str) -> Any:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    client.search_registered_models(max_results=1)  # the constructor alone asks nobody
    return client


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder, which is made if need be."""
    from filelock import FileLock

    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock", timeout=300):  # making the tables alone takes up to a minute
        yield


@contextmanager
def explaining(uri: str) -> Iterator[None]:
    """Turn what MLflow, SQLAlchemy and the system raise into a RegistryError of one sentence."""
    try:
        yield
    except TracklineError:
        raise
    except Exception as error:
        if not isinstance(error, OSError) and type(error).__module__.split(".")[0] not in FOREIGN:
            raise
        reason = " ".join(str(error).split())[:200]
        raise RegistryError(
            hide_password(
                f"the registry {uri} cannot be used ({reason}); make it reachable and writable, or "
                "name another in MLFLOW_TRACKING_URI or registry.uri"
            )
        ) from error
