"""A Kubeflow Pipelines server for tests: stateful, and strict about the API description.

It runs no pipeline. The description is Kubeflow's own swagger file, read where it lies.
"""

from __future__ import annotations

import copy
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import jsonschema
import yaml
from werkzeug import Request, Response
from werkzeug.serving import make_server

CREATED = "2026-01-01T00:00:00Z"


class Description:
    """The API as its swagger file describes it."""

    def __init__(self, path: Path) -> None:
        swagger = json.loads(path.read_text())
        self.definitions = {k: _tighten(v) for k, v in swagger["definitions"].items()}
        self.operations = [
            (re.compile(_as_pattern(template)), method.upper(), operation)
            for template, methods in swagger["paths"].items()
            for method, operation in methods.items()
        ]

    def find(self, method: str, path: str) -> tuple[dict[str, Any], dict[str, str]]:
        """The operation for a request and the values in its path; raises LookupError."""
        for pattern, verb, operation in self.operations:
            if verb == method and (match := pattern.fullmatch(path)):
                return operation, match.groupdict()
        raise LookupError(f"the API has no {method} {path}")

    def check_request(self, operation: dict[str, Any], request: Request) -> None:
        """Raise ValueError for a parameter, field, type or value that the API does not know."""
        known = {p["name"]: p for p in operation.get("parameters", []) if p["in"] == "query"}
        if unknown := set(request.args) - set(known):
            raise ValueError(f"unknown query parameters {sorted(unknown)}")
        bodies = [p for p in operation.get("parameters", []) if p["in"] == "body"]
        if bodies:
            self.check(request.get_json(), bodies[0]["schema"])
        elif request.mimetype == "application/json" and request.get_data():
            raise ValueError("a body where the API takes none")

    def check_response(self, operation: dict[str, Any], body: Any) -> None:
        self.check(body, operation["responses"]["200"]["schema"])

    def check(self, body: Any, schema: dict[str, Any]) -> None:
        try:
            jsonschema.Draft4Validator(
                {**_tighten(schema), "definitions": self.definitions}
            ).validate(body)
        except jsonschema.ValidationError as error:
            raise ValueError(f"{'/'.join(map(str, error.path))}: {error.message}") from None


def _tighten(schema: Any) -> Any:
    """Take 64-bit integers as numbers too, as the gateway does, and refuse unknown fields."""
    schema = copy.deepcopy(schema)
    if isinstance(schema, list):
        return [_tighten(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("format") in ("int64", "uint64"):
        return {"type": ["string", "integer"], "pattern": r"^-?\d+$"}
    schema = {k: _tighten(v) for k, v in schema.items() if not (k == "format" and v == "byte")}
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
        schema["additionalProperties"] = "@type" in schema["properties"]
    return schema


def _as_pattern(template: str) -> str:
    parts = re.split(r"\{([\w.]+)\}", template)
    return "".join(
        re.escape(p) if i % 2 == 0 else f"(?P<{p.split('.')[-1]}>[^/:]+)"
        for i, p in enumerate(parts)
    )


@dataclass
class Kubeflow:
    """The server's state, and all that was asked of it."""

    description: Description
    token: str | None = None
    cookie: str | None = None
    after: Callable[[], None] | None = None  # called after each answer
    experiments: dict[str, Any] = field(default_factory=dict)
    pipelines: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, Any] = field(default_factory=dict)
    runs: dict[str, Any] = field(default_factory=dict)
    recurring: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    @property
    def changes(self) -> list[tuple[str, str]]:
        """What was asked that changes something."""
        return [(method, path) for method, path in self.asked if method != "GET"]

    def answer(self, request: Request) -> Response:
        """One request: authenticated, checked, answered, and the answer checked."""
        self.asked.append((request.method, request.path))
        try:
            return self._answer(request)
        finally:
            if self.after:
                self.after()

    def _answer(self, request: Request) -> Response:
        known = request.headers.get("Authorization") == f"Bearer {self.token}"
        if self.token and not known and request.headers.get("Cookie") != (self.cookie or ""):
            return _say({"error": "unauthenticated", "message": "no valid token", "code": 16}, 401)
        try:
            operation, values = self.description.find(request.method, request.path)
            self.description.check_request(operation, request)
            name = re.sub("([A-Z])", r"_\1", operation["operationId"].split("_")[-1]).lower()
            body = getattr(self, name)(request, values)
            self.description.check_response(operation, body)
        except LookupError as error:
            return _say({"message": f"not found: {error}", "code": 5}, 404)
        except ValueError as error:
            self.broken.append(f"{request.method} {request.path}: {error}")
            return _say({"message": f"invalid: {error}", "code": 3}, 400)
        return _say(body, 200)

    def _get_healthz(self, *_: Any) -> Any:
        return {"multi_user": False}

    def _create_experiment(self, request: Request, _: Any) -> Any:
        return _keep(self.experiments, "experiment_id", request.get_json())

    def _list_experiments(self, request: Request, _: Any) -> Any:
        return _list(self.experiments, "experiments", request)

    def _get_experiment(self, _: Request, values: dict[str, str]) -> Any:
        return self.experiments[values["experiment_id"]]

    def _create_pipeline(self, request: Request, _: Any) -> Any:
        return _keep(self.pipelines, "pipeline_id", request.get_json())

    def _list_pipelines(self, request: Request, _: Any) -> Any:
        return _list(self.pipelines, "pipelines", request)

    def _list_pipeline_versions(self, request: Request, values: dict[str, str]) -> Any:
        return _list(self.versions, "pipeline_versions", request, **values)

    def _upload_pipeline_version(self, request: Request, _: Any) -> Any:
        package = next(iter(request.files.values())).read().decode()
        spec = next(yaml.safe_load_all(package))
        version = {
            "display_name": request.args["name"],
            "pipeline_id": request.args["pipelineid"],
            "pipeline_spec": spec,
        }
        if version["pipeline_id"] not in self.pipelines:
            raise LookupError(version["pipeline_id"])
        return _keep(self.versions, "pipeline_version_id", version)

    def _create_run(self, request: Request, _: Any) -> Any:
        run = request.get_json()
        self._find_version(run)
        return _keep(self.runs, "run_id", {**run, "state": "RUNNING"})

    def _list_runs(self, request: Request, _: Any) -> Any:
        return _list(self.runs, "runs", request)

    def _get_run(self, _: Request, values: dict[str, str]) -> Any:
        return self.runs[values["run_id"]]

    def _create_recurring_run(self, request: Request, _: Any) -> Any:
        run = request.get_json()
        self._find_version(run)
        if len(run["trigger"]["cron_schedule"]["cron"].split()) != 6:
            raise ValueError("cron needs six fields")
        if not 1 <= int(run["max_concurrency"]) <= 10:
            raise ValueError("max_concurrency must lie in 1 to 10")
        status = "ENABLED" if run.get("mode") == "ENABLE" else "DISABLED"
        return _keep(self.recurring, "recurring_run_id", {**run, "status": status})

    def _list_recurring_runs(self, request: Request, _: Any) -> Any:
        return _list(self.recurring, "recurringRuns", request)

    def _delete_recurring_run(self, _: Request, values: dict[str, str]) -> Any:
        del self.recurring[values["recurring_run_id"]]
        return {}

    def _enable_recurring_run(self, _: Request, values: dict[str, str]) -> Any:
        self.recurring[values["recurring_run_id"]]["status"] = "ENABLED"
        return {}

    def _disable_recurring_run(self, _: Request, values: dict[str, str]) -> Any:
        self.recurring[values["recurring_run_id"]]["status"] = "DISABLED"
        return {}

    def _find_version(self, run: dict[str, Any]) -> Any:
        return self.versions[run["pipeline_version_reference"]["pipeline_version_id"]]


def _keep(store: dict[str, Any], key: str, body: dict[str, Any]) -> Any:
    made = {**body, key: str(uuid4()), "created_at": CREATED}
    store[made[key]] = made
    return made


def _list(store: dict[str, Any], name: str, request: Request, **fixed: str) -> Any:
    """A page of what fits the filter; its token is the place where the next one begins."""
    wanted = dict(fixed)
    if text := request.args.get("filter"):
        for predicate in json.loads(text)["predicates"]:
            assert predicate["operation"] in (1, "EQUALS")
            wanted[predicate["key"]] = predicate.get("stringValue", predicate.get("string_value"))
    if experiment := request.args.get("experiment_id"):
        wanted["experiment_id"] = experiment
    found = [v for v in store.values() if all(v.get(k) == w for k, w in wanted.items())]
    start, size = int(request.args.get("page_token") or 0), int(request.args.get("page_size") or 20)
    token = str(start + size) if start + size < len(found) else ""
    return {name: found[start : start + size], "total_size": len(found), "next_page_token": token}


def _say(body: Any, status: int) -> Response:
    return Response(json.dumps(body), status, mimetype="application/json")


@contextmanager
def serve(kubeflow: Kubeflow) -> Iterator[str]:
    """Serve on a free port of this machine; gives the address."""
    application = Request.application(kubeflow.answer)
    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
