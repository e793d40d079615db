"""What the registry knows about versions, for people to read, compare and check."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from trackline.errors import TracklineError
from trackline.registry import journal
from trackline.registry.store import Store, explaining
from trackline.registry.versions import (
    CHAMPION,
    Version,
    fetch,
    list_aliases,
    read_evidence,
    read_file,
)

SHOWN = ("ao", "sequence_accuracy")
# where differences are found, in the order of what a person asks first
DIFFERENCES = {
    "lineage.params": "params",
    "metrics": "metrics",
    "lineage": "training",
    "tags": "origin",
}


def summarise(store: Store, version: Version) -> dict[str, Any]:
    """A version in a line: its number, aliases, hashes, when it came, verdict and main metrics."""
    with explaining(store.uri):
        metrics = store.client.get_run(version.run_id).data.metrics
    return {
        "name": version.name,
        "version": version.version,
        "aliases": list(version.aliases),
        "sha256": version.sha256,
        "registered": _tell_time(version.created_ms),
        "verdict": version.tags.get("verdict"),
        "git_revision": version.tags.get("git.revision"),
        "git_changed": version.tags.get("git.changed") == "True",
        **{name: metrics.get(name) for name in SHOWN},
    }


def tabulate(rows: list[dict[str, Any]]) -> str:
    """Summaries as a table."""
    head = (
        f"{'version':<9}{'alias':<22}{'registered':<18}{'ao':>6}{'class':>8}  "
        f"{'verdict':<10}{'sha256':<14}code"
    )
    lines = []
    for row in rows:
        ao, right = ("" if row[n] is None else f"{row[n]:.3f}" for n in SHOWN)
        lines.append(
            f"{row['version']:<9}{', '.join(row['aliases']):<22}{row['registered'][:16]:<18}"
            f"{ao:>6}{right:>8}  {row['verdict'] or '':<10}{row['sha256'][:12]:<14}"
            f"{(row['git_revision'] or '')[:10]}{' and changes' if row['git_changed'] else ''}"
        )
    return "\n".join([head, *lines]) if lines else ""


def describe(store: Store, version: Version) -> dict[str, Any]:
    """All about a version: tags, metrics, checks of its gates, lineage, and its days as champion."""
    with explaining(store.uri):
        metrics = dict(store.client.get_run(version.run_id).data.metrics)
        moves = [m for m in journal.read(store) if version.version in (m.version, m.was)]
    with TemporaryDirectory() as scratch:
        evidence = read_evidence(store, version, Path(scratch) / "evaluation")
        gate = evidence / "gate.json"
        checks = json.loads(gate.read_bytes()).get("checks", []) if gate.exists() else []
    return {
        **summarise(store, version),
        "tags": dict(version.tags),
        "metrics": metrics,
        "checks": checks,
        "lineage": json.loads(read_file(store, version, "lineage.json")),
        "moves": [journal.describe(move, store.name) for move in moves],
    }


def tell(content: Mapping[str, Any]) -> str:
    """A description for people: gates and numbers first, hashes last."""
    from trackline.evaluation.summary import tabulate

    named = f" = {', '.join(content['aliases'])}" if content["aliases"] else ""
    head = (
        f"{content['name']} version {content['version']}{named}, registered {content['registered']}"
    )
    moves = [
        f"{m['when'][:19].replace('T', ' ')}  {m['kind']} {m['from'] or 'none'} -> {m['to']} "
        f"by {m['who']}: {m['why'] or '-'}"
        for m in content["moves"]
    ]
    parts = {
        head: [],
        "gates": tabulate(content["checks"]).splitlines(),
        "metrics": _list_metrics(content["metrics"]),
        "as champion" if moves else "never champion": moves,
        "origin": [f"{name:<32}{value}" for name, value in sorted(content["tags"].items())],
    }
    return "\n".join(
        line for title, rows in parts.items() for line in (title, *(f"  {row}" for row in rows))
    )


def _list_metrics(found: Mapping[str, float]) -> list[str]:
    """A line for each metric, its interval behind it."""
    ends = {name for m in found for name in (f"{m}_low", f"{m}_high")}
    lines = []
    for name in sorted(found.keys() - ends, key=str.lower):
        interval = [f"{found[end]:.4g}" for end in (f"{name}_low", f"{name}_high") if end in found]
        lines.append(f"{name:<32}{found[name]:<8.4g} {' to '.join(interval)}".rstrip())
    return lines


def compare(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What differs between two descriptions: {name: (of a, of b)}."""
    left, right = (_flatten({k: c[k] for k in ("tags", "metrics", "lineage")}) for c in (a, b))
    names = [*left, *(name for name in right if name not in left)]
    return {n: (left.get(n), right.get(n)) for n in names if left.get(n) != right.get(n)}


def tell_differences(content: Mapping[str, tuple[Any, Any]]) -> str:
    """What `compare` found for people: what was set and what came of it first, hashes last and short."""
    groups: dict[str, list[str]] = {f"{name}.": [] for name in DIFFERENCES}
    for name, (a, b) in content.items():
        prefix = next(prefix for prefix in groups if name.startswith(prefix))
        bare = name.removeprefix(prefix)
        if prefix != "metrics." or not bare.endswith(("_low", "_high")):
            groups[prefix].append(f"  {bare:<32}{_shorten(a)} -> {_shorten(b)}")
    titles = zip(DIFFERENCES.values(), groups.values(), strict=True)
    return "\n".join(line for title, rows in titles if rows for line in (title, *rows))


def _shorten(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = "none" if value in (None, "None") else str(value)
    return text[:12] if re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", text) else text


def verify(store: Store, version: Version) -> dict[str, Any]:
    """Fetch a version and load it; `faults` names what is wrong, a sentence each."""
    from trackline.evaluation import verdict
    from trackline.models import package

    faults = []
    with TemporaryDirectory() as scratch:
        out = Path(scratch) / "version"
        try:
            fetch(store, version.version, out)
            evidence = out / "evaluation"
            files = verdict.Judged(
                out / "model", evidence / "evaluate.json", evidence / "predictions.parquet"
            )
            bound = verdict.bind(files, None, _any_thresholds())
            found = verdict.confirm(evidence / "gate.json", bound, verdict.OF_THE_MODEL)
            verdict.refuse_rejected(found, evidence / "gate.json")
            package.load(out / "model")
        except TracklineError as error:
            faults.append(str(error))
    return {
        "name": version.name,
        "version": version.version,
        "sha256": version.sha256,
        "faults": faults,
    }


def verify_journal(store: Store) -> list[str]:
    """What is wrong with the journal of champions and with the alias that follows it."""
    with explaining(store.uri):
        moves = journal.read(store)
        alias = list_aliases(store).get(CHAMPION)
    head = journal.find_head(moves)
    faults = journal.find_faults(moves)
    champion = head.version if head else None
    if alias != champion:
        faults.append(
            f"MLflow's alias {CHAMPION} names {alias or 'nothing'}, the journal {champion or 'nothing'}: "
            "somebody moved it past the gate; promote the champion again to set it right"
        )
    return faults


def _any_thresholds() -> Any:
    from trackline.config import Gate

    return Gate()  # what describes the model itself does not depend on them


def _flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in value.items():
        name = f"{prefix}{key}"
        found |= _flatten(item, f"{name}.") if isinstance(item, Mapping) else {name: item}
    return found


def _tell_time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(" ", "seconds")
