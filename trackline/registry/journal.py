"""The journal of champions: an append-only log in MLflow that decides who the champion is.

MLflow moves an alias for whoever asks last and can compare nothing before it does. What it does
offer is that versions of a model are numbered one after the other, each created whole with its tags.
So every move of the champion is a version of the registered model NAME.champions, which says after
which move it wants to stand. Read in order, the first that stands after the present head counts;
a later one that named the same head lost. The alias follows the journal and decides nothing.
Each entry holds the hash of the one before it, so that a removed or altered one shows.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from trackline import artifacts
from trackline.errors import RegistryError
from trackline.registry.store import Store, create_model

Kind = Literal["promotion", "rollback"]
FIELDS = ("kind", "after", "when", "who", "why", "verdict", "version", "was", "sha256", "previous")
ATTEMPTS = 5


@dataclass(frozen=True)
class Move:
    """One entry: who made `version` the champion in place of `was`, when and why.

    `after` is the number of the move it was to follow (0: none), `previous` that entry's hash;
    `counts` is whether it did follow it and did not come too late.
    """

    number: int
    kind: Kind
    after: int
    when: str
    who: str
    why: str
    verdict: str
    version: int
    was: int | None
    sha256: str
    previous: str
    counts: bool = True

    def digest(self) -> str:
        """The entry's hash, which the next one holds."""
        return artifacts.digest({name: getattr(self, name) for name in ("number", *FIELDS)})


def name_journal(store: Store) -> str:
    """The registered model whose versions are the moves."""
    return f"{store.name}.champions"


def read(store: Store) -> list[Move]:
    """All moves in their order, those that came too late among them."""
    found = store.client.search_model_versions(f"name='{name_journal(store)}'")
    entries = sorted((item for item in found if "kind" in item.tags), key=lambda v: int(v.version))
    moves: list[Move] = []
    head = 0
    for item in entries:
        move = _parse(int(item.version), item.tags, head)
        head = move.number if move.counts else head
        moves.append(move)
    return moves


def find_head(moves: list[Move]) -> Move | None:
    """The last move that counts: its version is the champion."""
    return next((move for move in reversed(moves) if move.counts), None)


def find_past(moves: list[Move]) -> list[Move]:
    """The promotions that a rollback can still go back to, the present champion's last."""
    standing: list[Move] = []
    for move in moves:
        if move.counts and move.kind == "promotion":
            standing.append(move)
        elif move.counts:
            while standing and standing[-1].version != move.version:
                standing.pop()
    return standing


def find_faults(moves: list[Move]) -> list[str]:
    """What is wrong with the chain, a sentence each: entries removed or altered."""
    numbers = {move.number for move in moves}
    missing = sorted(set(range(1, max(numbers, default=0) + 1)) - numbers)
    faults = [f"entry {number} of the journal of champions is missing" for number in missing]
    before = ""
    for move in (move for move in moves if move.counts):
        if move.previous != before:
            faults.append(
                f"entry {move.number} of the journal of champions does not follow from the one before, "
                "which was altered or removed"
            )
        before = move.digest()
    return faults


def append(
    store: Store, head: Move | None, version: Any, kind: Kind, why: str, verdict: str
) -> Move:
    """Try to make a version the champion after `head`; the returned move tells whether it counts."""
    from mlflow.exceptions import MlflowException

    entry = {
        "kind": kind,
        "after": str(head.number if head else 0),
        "when": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "who": name_actor(),
        "why": why,
        "verdict": verdict,
        "version": str(version.version),
        "was": str(head.version) if head else "none",
        "sha256": version.sha256,
        "previous": head.digest() if head else "",
    }
    create_model(store, name_journal(store))
    source = store.client.get_model_version(store.name, str(version.version)).source
    for attempt in range(ATTEMPTS):
        try:
            made = store.client.create_model_version(
                name_journal(store), source, run_id=version.run_id, tags=entry
            )
            break
        except MlflowException:  # many writers at once: MLflow gives up after three numbers
            if attempt == ATTEMPTS - 1:
                raise
    return next(move for move in read(store) if move.number == int(made.version))


def name_actor() -> str:
    """Who or what is at work: TRACKLINE_ACTOR, the CI's actor with its run, or the system's user."""
    import getpass

    get = os.environ.get
    if actor := get("TRACKLINE_ACTOR"):
        return actor
    if actor := get("GITHUB_ACTOR"):
        names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
        server, project, run = (get(name) for name in names)
        return f"{actor} ({server}/{project}/actions/runs/{run})" if run else actor
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user often has no name
        return f"uid {os.getuid()}"


def describe(move: Move, model: str) -> dict[str, Any]:
    """A move as a line of the audit trail."""
    fields = asdict(move)
    return {
        "number": move.number, "kind": move.kind, "when": move.when, "who": move.who,
        "model": model, "from": move.was, "to": move.version, "why": move.why,
        "verdict": move.verdict, "sha256": fields["sha256"],
        "outcome": "done" if move.counts else "overtaken",
    }  # fmt: skip


def _parse(number: int, tags: Mapping[str, str], head: int) -> Move:
    try:
        return Move(
            number=number,
            kind="rollback" if tags["kind"] == "rollback" else "promotion",
            after=int(tags["after"]),
            when=tags["when"],
            who=tags["who"],
            why=tags["why"],
            verdict=tags["verdict"],
            version=int(tags["version"]),
            was=None if tags["was"] == "none" else int(tags["was"]),
            sha256=tags["sha256"],
            previous=tags["previous"],
            counts=int(tags["after"]) == head,
        )
    except (KeyError, ValueError) as error:
        raise RegistryError(
            f"entry {number} of the journal of champions is damaged ({error}); restore the registry "
            "from a backup"
        ) from None
