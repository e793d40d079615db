"""The connection to MLflow: where the registry is, its locks, and its failures in one sentence."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trackline import signing
from trackline.config import Registry, Trust
from trackline.errors import RegistryError, RegistryUnreachable, TracklineError
from trackline.redaction import redact

SQLITE = "sqlite:///"
# the packages whose exceptions mean trouble with the store
FOREIGN = (
    "mlflow",
    "sqlalchemy",
    "boto3",
    "botocore",
    "s3transfer",
    "urllib3",
    "requests",
    "filelock",
)
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # with MLflow's own 7 a dead server takes 4 minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "AWS_RETRY_MODE": "standard",
    "AWS_MAX_ATTEMPTS": "3",
    "AWS_EC2_METADATA_DISABLED": "true",  # else a missing key is looked for on the network
}
REMEDIES = {
    r"Invalid Host header": "name that host in the server's --allowed-hosts",
    r"ExpiredToken|InvalidAccessKeyId|SignatureDoesNotMatch|AccessDenied|Forbidden|\b40[13]\b|"
    r"[Cc]redentials|InvalidClientTokenId|UNAUTHENTICATED|PERMISSION_DENIED": (
        "renew the credentials (AWS_… for S3, MLFLOW_TRACKING_… for the server) and run the step again"
    ),
    r"No space left|disk is full|StorageFull": "free space on that disk and run the step again",
}
REMEDY = "make it reachable and writable, or name another in MLFLOW_TRACKING_URI or registry.uri"


@dataclass(frozen=True)
class Store:
    """An open registry; `home` holds its lock and audit trail, and the artifacts of a SQLite one."""

    client: Any
    name: str
    uri: str
    home: Path
    trust: Trust

    def __str__(self) -> str:
        return redact(self.uri)

    @property
    def embedded(self) -> bool:
        """Whether the registry is a SQLite file, which its lock guards and which keeps its artifacts."""
        return self.uri.startswith(SQLITE)


def connect(settings: Registry, root: Path = Path(), *, create: bool = True) -> Store:
    """Open the registry; a SQLite one lies below `root`, and is made there if `create`.

    Raises RegistryError when it cannot be used.
    """
    uri, trust = find_uri(settings), signing.find_trust(settings.trust)
    with explaining(uri):
        if not uri.startswith(SQLITE):
            return Store(_open(uri), settings.name, uri, root.resolve() / "registry", trust)
        file = (root / uri.removeprefix(SQLITE)).resolve()
        if not create and not file.exists():
            raise RegistryError(
                f"there is no registry at {file}; run in the project's folder, or name a server in "
                "MLFLOW_TRACKING_URI"
            )
        if find_spec("sqlalchemy") is None:
            raise RegistryError(
                f"the registry {file} is a SQLite file, which the library alone cannot open; pip install "
                "'trackline[pipeline]', or name a server in MLFLOW_TRACKING_URI"
            )
        # Two processes that make the tables of a new file at the same time break it.
        with locked(file.parent):
            uri = f"{SQLITE}{file}"
            return Store(_open(uri), settings.name, uri, file.parent, trust)


def find_uri(settings: Registry) -> str:
    """Where the registry is; MLFLOW_TRACKING_URI wins over the parameters."""
    return os.environ.get("MLFLOW_TRACKING_URI") or settings.uri


def open_artifacts(store: Store, run_id: str) -> Any:
    """MLflow's access to the files of a run."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(find_artifacts(store, run_id), tracking_uri=store.uri)


def find_artifacts(store: Store, run_id: str) -> str:
    """The root of a run's files; SQLite remembers absolute paths, which a moved folder outlives."""
    if store.embedded:
        return str(store.home / "artifacts" / run_id / "artifacts")
    return str(store.client.get_run(run_id).info.artifact_uri)


def create_model(store: Store, name: str) -> None:
    """Make a registered model, unless there is one by now."""
    from mlflow.exceptions import MlflowException

    if store.client.search_registered_models(f"name='{name}'"):
        return
    try:
        store.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes of this machine out of a folder, which is made if need be."""
    from filelock import FileLock

    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock", timeout=300):  # making the tables alone takes up to a minute
        yield


@contextmanager
def explaining(where: str) -> Iterator[None]:
    """Turn what MLflow, its clients and the system raise into a RegistryUnreachable of one sentence."""
    try:
        yield
    except TracklineError:
        raise
    except Exception as error:
        if not isinstance(error, OSError) and type(error).__module__.split(".")[0] not in FOREIGN:
            raise
        reason = _find_reason(error)
        remedy = next((say for sign, say in REMEDIES.items() if re.search(sign, reason)), REMEDY)
        raise RegistryUnreachable(
            redact(f"the registry {where} cannot be used ({reason}); {remedy}")
        ) from error


def _find_reason(error: BaseException) -> str:
    """What an exception says; what the system said, where clients have wrapped that three times."""
    text, root = " ".join(str(error).split()), error
    while inner := root.__cause__ or root.__context__:
        root = inner
    if "Max retries exceeded" in text and isinstance(root, OSError) and root.strerror:
        return root.strerror.lower()
    return text[:300]


def _open(uri: str) -> Any:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    client.search_registered_models(max_results=1)  # the constructor alone asks nobody
    return client
