"""Schedules as a file says them: what is missing is made, what differs replaced, what is gone deleted.

Kubeflow can make, pause and delete a schedule and not change one, so that a change is a new schedule
and the end of the old. Only schedules that carry our mark are ever touched.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pipelines import cluster
from pipelines.cluster import Version
from pipelines.environment import Environment
from trackline import artifacts, records
from trackline.errors import ConfigError
from trackline.records import Range

MARK = "kept by trackline "
FIELDS = ("second", "minute", "hour", "day of month", "month", "day of week")
LIMITS = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
NAMES = (
    (), (), (), (),
    ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"),
    ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"),
)  # fmt: skip
Action = Literal["create", "replace", "pause", "resume", "delete", "keep"]


@dataclass(frozen=True)
class Schedule:
    """When the pipeline runs by itself; `set` changes parameters like --set does."""

    cron: str
    set: dict[str, str] = field(default_factory=dict)
    data_rev: str | None = None
    on_drift: bool = False
    enabled: bool = True
    concurrency: Annotated[int, Range(1, 10)] = 1
    catchup: bool = False

    def __post_init__(self) -> None:
        check_cron(self.cron)


@dataclass(frozen=True)
class Schedules:
    """All schedules of an environment, by name."""

    schedules: dict[str, Schedule]


@dataclass(frozen=True)
class Change:
    """What applying a file does to one schedule."""

    action: Action
    name: str
    why: str
    wanted: Schedule | None = None
    version: Version | None = None
    old: tuple[str, ...] = ()


def load(path: Path) -> dict[str, Schedule]:
    """Read a schedules file; raises ConfigError with the key, the rule and the remedy."""
    return records.read(Schedules, path).schedules


def check_cron(text: str) -> None:
    """Refuse what is no cron expression of six fields; raises ConfigError."""
    parts = text.split()
    if text.startswith("@") or len(parts) != len(FIELDS):
        also = f"; did you mean '0 {text}'?" if len(parts) == 5 else ""
        raise ConfigError(
            f"cron is {text!r}; Kubeflow wants six fields, {', '.join(FIELDS)}, in UTC{also}"
        )
    for part, name, (low, high), words in zip(parts, FIELDS, LIMITS, NAMES, strict=True):
        if not all(_is_range(one, low, high, words) for one in part.split(",")):
            named = f" or {words[0]} to {words[-1]}" if words else ""
            raise ConfigError(
                f"cron is {text!r}; its {name} is {part!r} and must be *, a value from {low} to "
                f"{high}{named}, a range like 1-5, a step like */15, or several of these with commas"
            )


def _is_range(text: str, low: int, high: int, words: tuple[str, ...]) -> bool:
    """Whether a text is *, ?, a value or a range, perhaps with a step."""
    span, _, step = text.partition("/")
    ends = [end.upper() for end in span.split("-")]
    numbers = [
        words.index(e) + low if e in words else int(e) for e in ends if e in words or e.isdigit()
    ]
    good = span in ("*", "?") or (len(numbers) == len(ends) <= 2 and numbers == sorted(numbers))
    stepped = text == span or (step.isdigit() and int(step) > 0)
    return good and stepped and all(low <= n <= high for n in numbers)


def explain_cron(text: str) -> str:
    """A cron expression in words."""
    named = zip(FIELDS, text.split(), strict=True)
    said = [f"{name} {part}" for name, part in reversed(list(named)) if part not in ("*", "?")]
    return f"at {', '.join(said) or 'every second'} (UTC)"


def plan(
    client: Any, environment: Environment, wanted: dict[str, tuple[Schedule, Version]]
) -> list[Change]:
    """What would have to change on the server; without a client, on one that has no schedule yet."""
    existing: dict[str, list[Any]] = {}
    for run in list_kept(client, environment) if client else ():
        existing.setdefault(run.display_name, []).append(run)
    changes = [_compare(n, s, v, existing.pop(n, []), environment) for n, (s, v) in wanted.items()]
    gone = [
        Change(
            "delete", name, "the file does not name it", old=tuple(r.recurring_run_id for r in runs)
        )
        for name, runs in existing.items()
    ]
    return changes + gone


def apply(client: Any, environment: Environment, changes: list[Change]) -> None:
    """Make the changes; the new schedule exists before the old one goes."""
    experiment = cluster.make_experiment(client, environment)
    for change in changes:
        if change.action in ("create", "replace"):
            _create(client, environment, experiment, change)
        if change.action in ("replace", "delete"):
            for old in change.old:
                client.delete_recurring_run(old)
        if change.action == "pause":
            client.disable_recurring_run(change.old[0])
        if change.action == "resume":
            client.enable_recurring_run(change.old[0])


def list_kept(client: Any, environment: Environment) -> Iterator[Any]:
    """The environment's schedules that carry our mark."""
    if (experiment := cluster.find_experiment(client, environment)) is None:
        return
    for run in cluster.list_all(
        client.list_recurring_runs, "recurring_runs", experiment_id=experiment
    ):
        if (run.description or "").startswith(MARK):
            yield run


def _compare(
    name: str, wanted: Schedule, version: Version, found: list[Any], environment: Environment
) -> Change:
    old = tuple(run.recurring_run_id for run in found)
    if not found:
        paused = "" if wanted.enabled else ", paused"
        why = f"{wanted.cron}, {explain_cron(wanted.cron)}{paused}"
        return Change("create", name, why, wanted, version)
    if len(found) > 1 or found[0].description != describe(wanted, version, environment):
        return Change(
            "replace", name, f"{wanted.cron}, version {version.name}", wanted, version, old
        )
    if (found[0].status == "ENABLED") != wanted.enabled:
        return Change(
            "resume" if wanted.enabled else "pause", name, wanted.cron, wanted, version, old
        )
    return Change("keep", name, wanted.cron, wanted, version, old)


def describe(schedule: Schedule, version: Version, environment: Environment) -> str:
    """The mark of a schedule: the digest of all that decides what it does, but for whether it is paused."""
    said = records.plain(dataclasses.replace(schedule, enabled=True))
    content = {"schedule": said, "version": version.name, "account": environment.service_account}
    return MARK + artifacts.digest(content)[:12]


def _create(client: Any, environment: Environment, experiment: str, change: Change) -> None:
    assert change.wanted is not None
    assert change.version is not None
    client.create_recurring_run(
        experiment,
        change.name,
        description=describe(change.wanted, change.version, environment),
        cron_expression=change.wanted.cron,
        max_concurrency=change.wanted.concurrency,
        no_catchup=not change.wanted.catchup,
        pipeline_id=change.version.pipeline_id,
        version_id=change.version.version_id,
        enabled=change.wanted.enabled,
        service_account=environment.service_account,
    )
