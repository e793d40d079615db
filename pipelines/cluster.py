"""Kubeflow Pipelines' server: packages uploaded by content, runs started and looked at."""

from __future__ import annotations

import json
import os
import ssl
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.environment import Environment
from pipelines.package import name_version
from trackline.errors import ConfigError, TracklineError

PAGE = 100


class Unreachable(TracklineError):
    """No server answers at the endpoint."""


@dataclass(frozen=True)
class Version:
    """An uploaded package, or with `new` one that a dry run would upload."""

    name: str
    pipeline_id: str
    version_id: str
    new: bool = False


def connect(environment: Environment) -> Any:
    """A client of the environment's server; raises TracklineError when it does not answer.

    A token comes from KF_PIPELINES_TOKEN, or from the environment's token_file, which is read again for each
    request; a session's cookies come from KF_PIPELINES_COOKIES. Neither is ever printed.
    """
    import kfp
    from kfp.client import ServiceAccountTokenVolumeCredentials

    file = environment.token_file or os.environ.get("KF_PIPELINES_SA_TOKEN_PATH")
    host = os.environ.get("KF_PIPELINES_ENDPOINT") or environment.endpoint or None
    token, cookies = (os.environ.get(f"KF_PIPELINES_{name}") for name in ("TOKEN", "COOKIES"))
    if host:
        _probe(host, token or _read_token(file), cookies, environment)
    with explaining(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # kfp greets everyone with one
        return kfp.Client(
            host=host,
            existing_token=token,
            credentials=ServiceAccountTokenVolumeCredentials(file) if file else None,
            cookies=cookies,
            ssl_ca_cert=environment.ca_file,
        )


def _read_token(file: str | None) -> str | None:
    try:
        return Path(file).read_text(encoding="utf-8").strip() if file else None
    except OSError as error:
        raise ConfigError(
            f"token_file is {file}, which cannot be read ({error.strerror}); outside of the cluster set "
            "KF_PIPELINES_TOKEN, or null for none"
        ) from None


def _probe(host: str, token: str | None, cookies: str | None, environment: Environment) -> None:
    """Ask once whether the server is well: kfp's client asks five times and keeps the reason to itself."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    headers |= {"Cookie": cookies} if cookies else {}
    request = urllib.request.Request(f"{host.rstrip('/')}/apis/v2beta1/healthz", headers=headers)
    secure = ssl.create_default_context(cafile=environment.ca_file)
    try:
        with urllib.request.urlopen(request, timeout=20, context=secure):
            pass
    except urllib.error.HTTPError as error:
        error.close()
        raise TracklineError(_explain(error.code, error.reason, "is it well?")) from None
    except OSError as error:
        raise Unreachable(_explain_away(error)) from None


@contextmanager
def explaining() -> Iterator[None]:
    """Turn what the client raises into one sentence without tokens."""
    from kfp_server_api import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        said = _message(error)
        raise TracklineError(_explain(error.status, error.reason, said)) from None
    except (HTTPError, OSError) as error:
        raise Unreachable(_explain_away(error)) from None


def _explain(status: int, reason: str, said: str) -> str:
    remedy = {
        401: "the token or cookies are missing or out of date: set token_file, KF_PIPELINES_TOKEN or "
        "KF_PIPELINES_COOKIES",
        403: "the account may not do this in the namespace: see the roles in docs/kubeflow.md",
    }.get(status, "the server's log says more")
    return f"Kubeflow Pipelines answered {status} {reason} ({said}); {remedy}"


def _explain_away(error: Exception) -> str:
    return (
        f"Kubeflow Pipelines cannot be reached ({type(error).__name__}: {str(error)[:160]}); "
        "check endpoint, or forward its port: kubectl port-forward -n kubeflow svc/ml-pipeline 8888"
    )


def find_version(client: Any, package: Path, name: str) -> Version:
    """The version with this very content; marked as new when there is no server, or it does not have it."""
    wanted = name_version(package)
    pipeline_id = client.get_pipeline_id(name) if client else None
    if pipeline_id is not None:
        for version in list_all(
            client.list_pipeline_versions, "pipeline_versions", pipeline_id=pipeline_id
        ):
            if version.display_name == wanted:
                return Version(wanted, pipeline_id, version.pipeline_version_id)
    return Version(wanted, pipeline_id or "", "", new=True)


def upload(client: Any, package: Path, environment: Environment, name: str) -> Version:
    """Upload a package unless the server has it already."""
    import kfp_server_api

    found = find_version(client, package, name)
    if not found.new:
        return found
    pipeline_id = found.pipeline_id
    if not pipeline_id:  # an upload would name the first version after the pipeline
        body = kfp_server_api.V2beta1Pipeline(
            display_name=name, name=name, namespace=environment.namespace
        )
        created = client._pipelines_api.pipeline_service_create_pipeline(pipeline=body)
        pipeline_id = created.pipeline_id
    version = client._upload_api.upload_pipeline_version(
        str(package), name=found.name, pipelineid=pipeline_id
    )
    return Version(found.name, pipeline_id, version.pipeline_version_id)


def start(client: Any, version: Version, environment: Environment, name: str) -> str:
    """Start a run of a version; returns its id. What it computes is what was compiled into the version."""
    run = client.run_pipeline(
        make_experiment(client, environment),
        name,
        pipeline_id=version.pipeline_id,
        version_id=version.version_id,
        service_account=environment.service_account,
    )
    return str(run.run_id)


def make_experiment(client: Any, environment: Environment) -> str:
    """The environment's experiment, made when it is not there."""
    found = client.create_experiment(environment.experiment, namespace=environment.namespace)
    return str(found.experiment_id)


def find_experiment(client: Any, environment: Environment) -> str | None:
    """The environment's experiment; None before the first run."""
    try:
        found = client.get_experiment(
            experiment_name=environment.experiment, namespace=environment.namespace
        )
    except ValueError:
        return None
    return str(found.experiment_id)


def list_runs(client: Any, environment: Environment, count: int) -> list[Any]:
    """The newest runs of the environment's experiment."""
    if (experiment := find_experiment(client, environment)) is None:
        return []
    answer = client.list_runs(page_size=count, sort_by="created_at desc", experiment_id=experiment)
    return list(answer.runs or [])


def list_all(method: Any, field: str, **options: Any) -> Iterator[Any]:
    """Every entry of a listing, page after page."""
    token = ""
    while True:
        answer = method(page_token=token, page_size=PAGE, **options)
        yield from getattr(answer, field) or []
        token = answer.next_page_token
        if not token:
            return


def _message(error: Any) -> str:
    try:
        body = json.loads(error.body)
        return str(body.get("message") or body.get("error_message") or body)[:200]
    except (TypeError, ValueError):
        return str(error.body)[:200]
