"""`trackline pipeline`: the graph on Kubeflow, or here without it."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackline.errors import UsageError

if TYPE_CHECKING:
    from pipelines.environment import Environment
    from pipelines.graph import Inputs

DESCRIPTION = """\
Run the pipeline on Kubeflow, or try the same graph here:

  trackline pipeline run --local                    every step in a subprocess
  trackline pipeline run --local --containers       every step in a container of the image
  trackline pipeline compile -e mine.yaml           what a cluster would get, checked
  trackline pipeline run -e mine.yaml --dry-run     what would be uploaded and started
  trackline pipeline schedule apply schedules.yaml -e mine.yaml --dry-run

An environment file says where: image, storage, GPUs, secrets by name. Start from
pipelines/environments/example.yaml. What decides results is params.yaml, as for `dvc repro`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Subcommands of `trackline pipeline`."""
    parser.description = DESCRIPTION
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_compile(commands.add_parser("compile", help="write and check the package for a cluster"))
    _add_run(commands.add_parser("run", help="start the pipeline on a cluster, or run it here"))
    _add_schedule(commands.add_parser("schedule", help="runs that start by themselves"))
    _add_status(commands.add_parser("status", help="the newest runs and how they stand"))
    _add_logs(commands.add_parser("logs", help="what the steps of a run did, and why one failed"))


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--params", type=Path, default=Path("params.yaml"), metavar="FILE", help="configuration")
    add("-S", "--set", action="append", default=[], metavar="NAME=VALUE",
        help="change a parameter for this run: -S train.epochs=30")  # fmt: skip
    add("--on-drift", action="store_true", help="train only when drift says that the data moved")
    add("--data-rev", metavar="REVISION", help="git revision or hash (default: today's data.dvc)")


def _add_environment(parser: argparse.ArgumentParser, required: bool) -> None:
    parser.add_argument(
        "-e",
        "--environment",
        type=Path,
        required=required,
        metavar="FILE",
        help="the cluster, as pipelines/environments/example.yaml describes one",
    )


def _add_compile(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Compile the graph for an environment, hold it to the rules, and write the package.\n"
        "Refused are: an image that is not named by digest, a GPU count without a type, a value\n"
        "that looks secret, a step that would install packages, storage that ends with a pod, a file\n"
        "of this machine that no pod sees.\n"
        "The same inputs give the same bytes; the version's name is their digest."
    )
    _add_environment(parser, required=True)
    _add_inputs(parser)
    add = parser.add_argument
    add("-o", "--out", type=Path, default=Path("artifacts/pipeline.yaml"), help="file to write")
    add("--dry-run", action="store_true", help="check, say what would change, write nothing")
    parser.set_defaults(command=_compile)


def _compile(given: argparse.Namespace) -> None:
    from pipelines import inputs, package
    from pipelines.environment import load
    from trackline import artifacts

    collected = inputs.collect(given.params, given.set, given.data_rev, given.on_drift)
    with _compiled(load(given.environment), collected) as compiled:
        content = compiled.read_bytes()
        same = given.out.is_file() and given.out.read_bytes() == content
        if not given.dry_run:
            artifacts.write_text(given.out, content.decode())
        done = "unchanged" if same else "would write" if given.dry_run else "wrote"
        print(
            f"{done} {given.out}, version {package.name_version(compiled)}, data {collected.data_rev}"
        )


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Run the pipeline. On a cluster: compile, upload the version if it is new, start a run.\n"
        "With --local: here, in subprocesses or containers, on the footage of data.dvc; results go\n"
        "below artifacts/kubeflow/, what passes the gates into the project's registry.\n\n"
        "  trackline pipeline run --local -S train.epochs=1      one epoch, to see it work\n"
        "  trackline pipeline run --local --containers           in containers; `make image` first\n"
        "  trackline pipeline run -e mine.yaml --dry-run         what a cluster would be asked\n\n"
        "exit codes   0 registered or started   2 rejected by the gates   1 a step failed"
    )
    _add_environment(parser, required=False)
    _add_inputs(parser)
    add = parser.add_argument
    add("--local", action="store_true", help="run here, without a cluster")
    add("--containers", action="store_true", help="with --local: in containers of --image")
    add(
        "--image",
        default="localhost/trackline:latest",
        help="with --containers: what `make image` built",
    )
    add("--reuse", action="store_true", help="with --local: take over what unchanged steps left")
    add("--dry-run", action="store_true", help="say what would happen, change nothing")
    parser.set_defaults(command=_run)


def _run(given: argparse.Namespace) -> None:
    if given.local == bool(given.environment):
        raise UsageError("say where: --local to run here, or --environment FILE for a cluster")
    if given.containers and not given.local:
        raise UsageError("--containers runs here; give --local with it")
    (_run_here if given.local else _start)(given)


def _start(given: argparse.Namespace) -> None:
    from pipelines import cluster, inputs
    from pipelines.environment import load

    environment = load(given.environment)
    collected = inputs.collect(given.params, given.set, given.data_rev, given.on_drift)
    client = _connect(environment, given.dry_run)
    with cluster.explaining(), _compiled(environment, collected) as package:
        if given.dry_run:
            found = cluster.find_version(client, package, collected.pipeline)
            print(
                f"version     {found.name}, {'would be uploaded' if found.new else 'already there'}"
            )
            print(
                f"would run   in experiment {environment.experiment} as {environment.service_account}"
            )
            print(f"data        {collected.data_rev}")
            return
        version = cluster.upload(client, package, environment, collected.pipeline)
        run = cluster.start(
            client, version, environment, f"{collected.pipeline} {collected.data_rev[:8]}"
        )
    print(f"version  {version.name}, {'uploaded' if version.new else 'already there'}")
    print(f"run      {run}")
    print(f"look     trackline pipeline status -e {given.environment}")


def _connect(environment: Environment, dry_run: bool) -> Any:
    """A client; None for a dry run where no server answers, which then shows what a new one would get."""
    from pipelines import cluster

    try:
        return cluster.connect(environment)
    except cluster.Unreachable as error:
        if not dry_run:
            raise
        print(f"warning: {error}\nwarning: shown is what a server with nothing on it would be asked",
              file=sys.stderr)  # fmt: skip
        return None


@contextmanager
def _compiled(environment: Environment, collected: Inputs) -> Iterator[Path]:
    from pipelines import package

    with tempfile.TemporaryDirectory() as folder:
        yield package.compile_package(environment, collected, Path(folder) / "pipeline.yaml")


def _run_here(given: argparse.Namespace) -> None:
    from pipelines import inputs, local

    collected = inputs.collect(given.params, given.set, given.data_rev, given.on_drift)
    image = given.image if given.containers else None
    if given.dry_run:
        print(f"would run   {'containers of ' + image if image else 'subprocesses'}")
        print(f"data        {collected.data_rev}")
        print(f"results     {local.ROOT}, registry {collected.params.registry.uri}")
        return
    outcome = local.run(collected, local.find_remote(), image=image, reuse=given.reuse)
    print_entries(outcome.entries)
    print(f"artifacts {outcome.folder}")
    outcome.check()


def _add_schedule(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Runs that start by themselves, as a file says: see pipelines/environments/schedules.yaml."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    apply = commands.add_parser("apply", help="make the server's schedules what the file says")
    apply.description = (
        "Make the server's schedules what the file says: create what is missing, replace what differs,\n"
        "pause and resume, delete what the file no longer names. Applied twice it changes nothing.\n"
        "A schedule holds the compiled package of its day: apply again after a release or a promotion.\n"
        "Schedules that others made are left alone."
    )
    apply.add_argument(
        "file", type=Path, help="the schedules, like pipelines/environments/schedules.yaml"
    )
    _add_environment(apply, required=True)
    apply.add_argument("--params", type=Path, default=Path("params.yaml"), help="configuration")
    apply.add_argument(
        "--dry-run", action="store_true", help="print what would change, change nothing"
    )
    apply.set_defaults(command=_apply)
    listing = commands.add_parser("list", help="the schedules on the server")
    _add_environment(listing, required=True)
    listing.set_defaults(command=_list_schedules)


def _apply(given: argparse.Namespace) -> None:
    from pipelines import cluster, inputs, schedules
    from pipelines.environment import load

    environment, wanted = load(given.environment), schedules.load(given.file)
    client = _connect(environment, given.dry_run)
    find = (
        cluster.find_version if given.dry_run else partial(cluster.upload, environment=environment)
    )
    versions = {}
    with cluster.explaining():
        for name, schedule in wanted.items():
            changes = [f"{k}={v}" for k, v in schedule.set.items()]
            collected = inputs.collect(given.params, changes, schedule.data_rev, schedule.on_drift)
            with _compiled(environment, collected) as package:
                versions[name] = (schedule, find(client, package, name=collected.pipeline))
        plan = schedules.plan(client, environment, versions)
        if not given.dry_run:
            schedules.apply(client, environment, plan)
    for change in plan:
        print(
            f"{'would ' if given.dry_run else ''}{change.action:<8} {change.name:<20} {change.why}"
        )
    if not plan:
        print("nothing to do: the file names no schedule, and the server has none of ours")


def _list_schedules(given: argparse.Namespace) -> None:
    from pipelines import cluster, schedules
    from pipelines.environment import load

    environment = load(given.environment)
    client = cluster.connect(environment)
    with cluster.explaining():
        kept = list(schedules.list_kept(client, environment))
    for run in kept:
        cron = run.trigger.cron_schedule.cron
        print(
            f"{run.display_name:<20} {run.status.lower():<9} {run.recurring_run_id}  {cron}, "
            f"{schedules.explain_cron(cron)}"
        )
    if not kept:
        print(f"no schedule of ours in experiment {environment.experiment}")


def _add_status(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "List the newest runs and how they stand. A run that ended well may have rejected its candidate:\n"
        "what was registered says the registry, and `trackline pipeline logs` what each step did."
    )
    _add_environment(parser, required=True)
    parser.add_argument("-n", "--count", type=int, default=10, help="so many")
    parser.set_defaults(command=_print_status)


def _print_status(given: argparse.Namespace) -> None:
    from pipelines import cluster
    from pipelines.environment import load

    environment = load(given.environment)
    client = cluster.connect(environment)
    with cluster.explaining():
        runs = cluster.list_runs(client, environment, given.count)
    for run in runs:
        print(
            f"{run.run_id}  {run.state or 'PENDING':<10} {run.created_at:%Y-%m-%d %H:%M}  {run.display_name}"
        )
    if not runs:
        print(f"no run in experiment {environment.experiment} yet")


def _add_logs(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Print a run's journal: its steps, their seconds, what each told, and of one that failed, was\n"
        "killed or still runs the last lines it printed (half a minute old at most). The journal lives\n"
        "where the environment's `journal` says, and stays when the pods are gone; to read s3:// set\n"
        "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and perhaps AWS_ENDPOINT_URL.\n"
        "Without a run's name: the newest one."
    )
    _add_environment(parser, required=False)
    parser.add_argument("--local", action="store_true", help="a run of this machine")
    parser.add_argument("run", nargs="?", help="a run's name or id")
    parser.set_defaults(command=_print_logs)


def _print_logs(given: argparse.Namespace) -> None:
    from trackline import journal

    root = _find_root(given)
    place = f"{root}/{given.run or journal.find_newest(root)}"
    entries = journal.read(place)
    print(place)
    print_entries(entries)
    for entry in entries:
        for line in entry.get("log", ()):
            print(f"{entry['step']} | {line}")


def _find_root(given: argparse.Namespace) -> str:
    from pipelines import local
    from pipelines.environment import load

    if given.local == bool(given.environment):
        raise UsageError("say which: --local for runs of this machine, or --environment FILE")
    return str(local.ROOT.resolve() / "journal") if given.local else load(given.environment).journal


def print_entries(entries: Any) -> None:
    """A line for each step."""
    for entry in entries:
        seconds = f"{entry['seconds']:>8.1f} s" if "seconds" in entry else " " * 10
        tries = f"  try {entry['tries']}" if entry.get("tries", 1) > 1 else ""
        said = entry.get("error") or str(entry.get("told") or "").split("\n")[0]
        print(f"{entry['step']:<10}{entry['state']:<11}{seconds}{tries}  {said}".rstrip())
