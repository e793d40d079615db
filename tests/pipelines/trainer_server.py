"""As much of a Kubernetes API server as a TrainJob needs; its nodes are real torchrun processes.

It holds each TrainJob to the custom resource's own schema, serves the runtime that Trainer installs, and
gives each node what Trainer's torch plugin gives it: the PET_ variables. A node that fails is started
again, as its Job would, until the Job's patience is over.
"""

from __future__ import annotations

import copy
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from werkzeug import Request, Response
from werkzeug.serving import make_server

GROUP = "/apis/trainer.kubeflow.org/v1alpha1"
CREATED = "2026-01-01T00:00:00Z"
ROOT = Path(__file__).parents[2]


@dataclass
class Node:
    """One node of a job: a torchrun, how often it was started, and what it printed."""

    index: int
    log: Path
    process: subprocess.Popen[bytes]
    starts: int = 1


@dataclass
class Job:
    """A TrainJob and its nodes."""

    body: dict[str, Any]
    nodes: list[Node] = field(default_factory=list)
    state: str | None = None
    stopped: bool = False


class Trainer:
    """The server's state."""

    def __init__(
        self, crd: Path, runtime: Path, roles: Path, folder: Path, patience: int = 3
    ) -> None:
        version = yaml.safe_load(crd.read_text())["spec"]["versions"][0]
        self.schema = _tighten(version["schema"]["openAPIV3Schema"])
        self.runtime = yaml.safe_load(runtime.read_text())
        self.rules = [
            rule
            for document in yaml.safe_load_all(roles.read_text())
            for rule in document.get("rules", [])
        ]
        self.forbidden: list[str] = []
        self.outages = 0  # so many times a job that is there cannot be looked at
        self.folder, self.patience = folder, patience
        self.jobs: dict[str, Job] = {}
        self.created: list[dict[str, Any]] = []
        self.deleted: list[str] = []

    def answer(self, request: Request) -> Response:
        """One request of the client, when the roles allow it."""
        asked = _name_access(request)
        if not any(_allows(rule, *asked) for rule in self.rules):
            self.forbidden.append(" ".join(asked))
            return _say({"reason": "Forbidden"}, 403)
        jobs = rf"{GROUP}/namespaces/\w+/trainjobs"
        pods = r"/api/v1/namespaces/\w+/pods"
        routes: dict[str, Callable[[re.Match[str]], Response]] = {
            rf"{GROUP}/clustertrainingruntimes/[\w-]+": lambda _: _say(self.runtime),
            jobs: lambda _: self._create(request.get_json()),
            rf"{jobs}/([\w-]+)": lambda match: self._show(match[1], request.method),
            pods: lambda _: self._show_pods(request.args["labelSelector"]),
            rf"{pods}/([\w-]+)/log": lambda match: self._show_log(match[1]),
        }
        for pattern, route in routes.items():
            if match := re.fullmatch(pattern, request.path):
                return route(match)
        return _say({"reason": "NotFound"}, 404)

    def _show(self, name: str, verb: str) -> Response:
        job = self.jobs.get(name)
        if job is None:
            return _say({"reason": "NotFound"}, 404)
        if verb == "GET" and self.outages:
            self.outages -= 1
            return _say({"reason": "ServiceUnavailable"}, 503)
        if verb == "DELETE":
            self.stop(name)
        return _say(_with_status(job))

    def _show_pods(self, selector: str) -> Response:
        pods = self._list_pods(selector.split("=")[1].split(",", maxsplit=1)[0])
        return _say({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods})

    def _show_log(self, pod: str) -> Response:
        return Response((self.folder / f"{pod}.log").read_bytes(), mimetype="text/plain")

    def stop(self, name: str) -> None:
        """Delete a job with its nodes."""
        job = self.jobs.pop(name)
        job.stopped = True
        self.deleted.append(name)
        for node in job.nodes:
            _kill(node)

    def _create(self, body: dict[str, Any]) -> Response:
        try:
            jsonschema.Draft202012Validator(self.schema).validate(body)
        except jsonschema.ValidationError as error:
            return _say(
                {"reason": "Invalid", "message": f"{list(error.path)}: {error.message}"}, 422
            )
        name = body["metadata"]["name"]
        if name in self.jobs:
            return _say({"reason": "AlreadyExists"}, 409)
        body["metadata"] |= {"namespace": "tests", "creationTimestamp": CREATED}
        job = self.jobs[name] = Job(body)
        self.created.append(copy.deepcopy(body))
        port = _find_port()
        count = body["spec"]["trainer"]["numNodes"]
        for index in range(count):
            log = self.folder / f"{name}-node-0-{index}-1.log"
            job.nodes.append(Node(index, log, self._start(job, index, log, port)))
        threading.Thread(target=self._supervise, args=(job, port), daemon=True).start()
        return _say(body, 201)

    def _start(self, job: Job, index: int, log: Path, port: int) -> subprocess.Popen[bytes]:
        trainer = job.body["spec"]["trainer"]
        given = {e["name"]: e["value"] for e in trainer.get("env", [])}
        assert not any(name.startswith("PET_") for name in given)
        pet = {
            "PET_NNODES": str(trainer["numNodes"]),
            "PET_NPROC_PER_NODE": "1",
            "PET_NODE_RANK": str(index),
            "PET_MASTER_ADDR": "127.0.0.1",
            "PET_MASTER_PORT": str(port),
        }
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        variables = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with log.open("wb") as output:
            return subprocess.Popen(
                [*trainer["command"], *trainer["args"]],
                env=variables | given | pet,
                cwd=self.folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _supervise(self, job: Job, port: int) -> None:
        while not job.stopped and job.state is None:
            codes = [node.process.poll() for node in job.nodes]
            if all(code == 0 for code in codes):
                job.state = "Complete"
            for node, code in zip(job.nodes, codes, strict=True):
                if code and not job.stopped:
                    self._start_again(job, node, port)
            time.sleep(0.1)

    def _start_again(self, job: Job, node: Node, port: int) -> None:
        if node.starts > self.patience:
            job.state = "Failed"
            for other in job.nodes:
                _kill(other)
            return
        node.starts += 1
        node.log = node.log.with_name(re.sub(r"\d+\.log$", f"{node.starts}.log", node.log.name))
        node.process = self._start(job, node.index, node.log, port)

    def _list_pods(self, name: str) -> list[dict[str, Any]]:
        job = self.jobs.get(name)
        return [] if job is None else [_describe_pod(name, node) for node in job.nodes]


def _name_access(request: Request) -> tuple[str, str, str]:
    """The verb, API group and resource of a request, as Kubernetes authorises it."""
    group, parts = "", request.path.removeprefix("/api/v1/").split("/")
    if request.path.startswith("/apis/"):
        group, parts = parts[2], parts[4:]
    if parts[0] == "namespaces":
        parts = parts[2:]
    resource = "/".join(parts[::2])  # pods/NAME/log
    verbs = {"POST": "create", "DELETE": "delete", "GET": "list" if len(parts) == 1 else "get"}
    return verbs[request.method], group, resource


def _allows(rule: dict[str, list[str]], verb: str, group: str, resource: str) -> bool:
    return group in rule["apiGroups"] and resource in rule["resources"] and verb in rule["verbs"]


def _describe_pod(name: str, node: Node) -> dict[str, Any]:
    code = node.process.poll()
    labels = {
        "jobset.sigs.k8s.io/jobset-name": name,
        "jobset.sigs.k8s.io/replicatedjob-name": "node",
        "batch.kubernetes.io/job-completion-index": str(node.index),
    }
    phase = "Running" if code is None else "Failed" if code else "Succeeded"
    metadata = {"name": node.log.stem, "labels": labels, "creationTimestamp": CREATED}
    return {
        "metadata": metadata,
        "spec": {"containers": [{"name": "node", "image": "any"}]},
        "status": {"phase": phase},
    }


def _with_status(job: Job) -> dict[str, Any]:
    if job.state is None:
        return job.body
    condition = {
        "type": job.state, "status": "True", "lastTransitionTime": CREATED, "message": "", "reason": "Jobs",
    }  # fmt: skip
    return {**job.body, "status": {"conditions": [condition]}}


def _kill(node: Node) -> None:
    """End torchrun and its workers, which have sessions of their own, at once: a lost machine."""
    for pid in (node.process.pid, *_list_descendants(node.process.pid)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    node.process.wait()


def _list_descendants(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(p) for task in tasks for p in (task / "children").read_text().split()]
    except FileNotFoundError:
        return []
    return children + [p for child in children for p in _list_descendants(child)]


def _tighten(schema: Any) -> Any:
    """Refuse unknown fields, as the API server does under strict validation."""
    if isinstance(schema, list):
        return [_tighten(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    tight = {k: _tighten(v) for k, v in schema.items()}
    free = schema.get("x-kubernetes-preserve-unknown-fields")
    if (
        isinstance(schema.get("properties"), dict)
        and not free
        and "additionalProperties" not in schema
    ):
        tight["additionalProperties"] = False
    return tight


def _find_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _say(body: Any, status: int = 200) -> Response:
    return Response(json.dumps(body), status, mimetype="application/json")


@contextmanager
def serve(trainer: Trainer) -> Iterator[str]:
    """Serve on a free port of this machine; gives the address, and leaves no process."""
    server = make_server("127.0.0.1", 0, Request.application(trainer.answer), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        for name in list(trainer.jobs):
            trainer.stop(name)
        server.shutdown()
        thread.join()
        server.server_close()
