"""The graph without a cluster: each step in a subprocess, or in a container of the image.

KFP's local runner says FAILURE or SUCCESS for the whole and drops containers before it asks how they
ended; what the steps wrote into the journal is what counts here.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from components.notify import explain, find_failed
from pipelines import containers
from pipelines.environment import STEPS, Environment, Settings
from pipelines.graph import Inputs
from trackline import artifacts, config, journal
from trackline.errors import DataError, GateRefused, TracklineError
from trackline.registry import store

ROOT = Path("artifacts/kubeflow")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a local run left: its name, its journal's entries and the folder of its artifacts."""

    run: str
    entries: tuple[journal.Entry, ...]
    folder: Path

    @property
    def steps(self) -> list[str]:
        """The steps that ran, in order."""
        return [entry["step"] for entry in self.entries]

    def check(self) -> None:
        """Raise GateRefused for a rejected candidate, TracklineError for a failed or unfinished run."""
        if failed := find_failed(list(self.entries)):
            raise TracklineError(
                f"{failed[-1]['step']} failed: {explain(failed[-1])}; the last lines it printed: "
                f"trackline pipeline logs --local {self.run}"
            )
        if "reject" in self.steps:
            raise GateRefused(
                f"the gates rejected the candidate, nothing was registered; {self.folder} says why"
            )
        if not {"register", "rest"} & set(self.steps):
            raise TracklineError(
                f"the run ended after {', '.join(self.steps) or 'no step'}; KFP's own messages stand above"
            )


def run(
    inputs: Inputs,
    remote: str,
    *,
    image: str | None = None,
    root: Path = ROOT,
    reuse: bool = False,
) -> Outcome:
    """Run the graph in subprocesses, or in containers of `image`; `remote` holds the footage.

    `reuse` takes over the results of steps whose code and inputs an earlier run had.
    """
    from kfp import local

    from pipelines.graph import build

    root = root.resolve()
    name = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")[:-3]
    (folder := root / name).mkdir(parents=True)
    environment = _describe(root, remote, image or f"python-{_hash_code()}")
    graph = build(environment, _with_absolute_paths(inputs))
    with warnings.catch_warnings(), _variables(name, root) as variables:
        warnings.simplefilter(
            "ignore"
        )  # of kfp's own making: resources that a laptop does not ration
        runner = (
            containers.contain(
                image, *list_paths(inputs.params, root, remote), _without_revision(variables)
            )
            if image
            else local.SubprocessRunner(use_venv=False)
        )
        places = {"pipeline_root": str(folder), "cache_root": str(root / "cache")}
        local.init(runner, raise_on_error=False, enable_caching=reuse, **places)
        graph()
    try:
        entries = journal.read(f"{environment.journal}/{name}")
    except DataError:
        entries = []
    return Outcome(name, tuple(entries), folder)


def find_remote(project: Path = Path()) -> str:
    """The project's DVC cache, which is laid out like a remote; filled from data.dvc when it is not."""
    dvc = (sys.executable, "-m", "dvc")
    command = (*dvc, "repro", "--quiet", "--pull", "data.dvc")
    if subprocess.run(command, cwd=project, check=False).returncode:
        raise DataError("data.dvc cannot be brought here; `dvc pull data.dvc` says why")
    said = subprocess.run((*dvc, "cache", "dir"), cwd=project, capture_output=True, check=True)
    return said.stdout.decode().strip()


def list_paths(params: config.Params, root: Path, remote: str) -> tuple[list[Path], list[Path]]:
    """What containers must see of this machine: folders to write into, and what is only read."""
    writable, readable = [root], [Path(remote)]
    uri = _make_absolute(store.find_uri(params.registry))
    if uri.startswith(store.SQLITE):
        writable.append(Path(uri.removeprefix(store.SQLITE)).parent)
    files = [params.model.pretrained, params.registry.trust.key]
    files += [os.environ.get(name) for name in ("TRACKLINE_SIGNING_KEY", "TRACKLINE_TRUSTED_KEY")]
    readable += [Path(file).resolve() for file in files if file and Path(file).exists()]
    return writable, readable


def _describe(root: Path, remote: str, image: str) -> Environment:
    cores = os.environ.get("OMP_NUM_THREADS") or str(len(os.sched_getaffinity(0)))
    steps = {name: Settings(cpu=cores, retries=0) for name in STEPS}
    steps["fetch"] = Settings(retries=3, backoff_seconds=1)  # alone in going over a network
    # the run's name comes by another way: kfp's cache looks at what the environment sets
    return Environment(image, remote, f"{root}/journal", run_variable=False, steps=steps)


@contextmanager
def _variables(run: str, root: Path) -> Iterator[dict[str, str]]:
    """What the steps' pods would be given, set for the subprocesses of this process."""
    given = {
        "TRACKLINE_RUN": run,
        "TRACKLINE_DATA": f"{root}/data",
        "TRACKLINE_CHECKPOINTS": f"{root}/checkpoints",
        "TRACKLINE_REVISION": _find_revision(),
    }
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        given["MLFLOW_TRACKING_URI"] = _make_absolute(uri)
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield given
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _without_revision(variables: dict[str, str]) -> dict[str, str]:
    """The image knows what it was built from, which may be older than the working tree."""
    return {name: value for name, value in variables.items() if name != "TRACKLINE_REVISION"}


def _find_revision() -> str:
    """The working tree's revision, which the steps' scratch folders do not know."""
    done = subprocess.run(("git", "rev-parse", "HEAD"), capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _hash_code() -> str:
    """The digest of the program, which stands for the image's where there is none."""
    project = Path(__file__).parents[1]
    files = (
        f
        for name in ("components", "pipelines", "trackline")
        for f in (project / name).rglob("*.py")
    )
    return artifacts.digest({str(f.relative_to(project)): artifacts.sha256(f) for f in files})[:12]


def _with_absolute_paths(inputs: Inputs) -> Inputs:
    """The project's own registry, key and weights, so that a step finds them from its scratch folder."""
    params = inputs.params
    registry, model = params.registry, params.model
    trust = dataclasses.replace(registry.trust, key=_find(registry.trust.key))
    registry = dataclasses.replace(registry, uri=_make_absolute(registry.uri), trust=trust)
    model = dataclasses.replace(model, pretrained=_find(model.pretrained))
    return dataclasses.replace(
        inputs, params=dataclasses.replace(params, registry=registry, model=model)
    )


def _find(name: str | None) -> str | None:
    """The absolute path of what exists here; other names are left as they are."""
    return str(Path(name).resolve()) if name and Path(name).exists() else name


def _make_absolute(uri: str) -> str:
    """The address of a registry; a SQLite file's is found from any folder then."""
    if not uri.startswith(store.SQLITE):
        return uri
    return f"{store.SQLITE}{Path(uri.removeprefix(store.SQLITE)).resolve()}"
