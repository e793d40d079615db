"""The verdict in words: a table for a terminal, forty lines of Markdown for pull requests and dashboards."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

import pandas as pd

MOST_LINES = 40
MOST_GATES = 18
COMPARED = {  # a number of the model, and what stands beside it
    "Average overlap": ("ao", {"static box": "ao_static", "CSRT": "ao_csrt"}),
    "Class, per sequence": (
        "sequence_accuracy",
        {"by colour": "colour_accuracy", "by box shape": "shape_accuracy"},
    ),
    "Box and class together": ("joint_accuracy", {}),
    "Calibration error of the class": ("ece", {}),
    "Frames per second": ("fps", {"CSRT": "csrt_fps"}),
}


def summarise(
    gate: Mapping[str, Any], metrics: Mapping[str, Any], slices: pd.DataFrame, lineage: Any
) -> str:
    """Say the verdict, why, every gate with a number, the main numbers and the weakest slices."""
    failed = [check for check in gate["checks"] if not check["passed"]]
    head = [
        f"## {'✅' if gate['passed'] else '❌'} {gate['verdict'].capitalize()}: "
        f"{_count(gate, failed)}",
        "",
        *[f"- **{check['name']}**: {_escape(check['why'])}" for check in failed[:5]],
        *[f"- and {len(failed) - 5} more" for _ in [0] if len(failed) > 5],
        *["" for _ in [0] if failed],
        f"{metrics.get('sequences')} sequences, {metrics.get('frames')} scored frames. {_compare(gate)}",
        "",
    ]
    tail = ["", *_list_numbers(metrics), *_name_weakest(slices), _name_origin(gate, lineage)]
    room = min(MOST_GATES, MOST_LINES - len(head) - len(tail) - 4)
    return "\n".join([*head, *_list_gates(gate, room), *tail]) + "\n"


def tabulate(checks: Iterable[Mapping[str, Any]]) -> str:
    """A line for each gate: value, interval and need, and the reason of what failed or has no number."""
    lines = [f"{'gate':<18}{'value':>8}  {'95 % interval':<18}{'needs':>9}"]
    for check in checks:
        value = "" if check["value"] is None else _show(check["value"])
        line = f"{check['name']:<18}{value:>8}  {_show_interval(check):<18}{_show_need(check):>9}"
        state = "passed" if check["passed"] else "FAILED"
        if not check["passed"] or check["value"] is None:
            state += f"  {check['why']}"
        lines.append(f"{line}  {state}")
    return "\n".join(lines)


def _count(gate: Mapping[str, Any], failed: list[Any]) -> str:
    total = len(gate["checks"])
    return f"{len(failed)} of {total} gates failed" if failed else f"all {total} gates passed"


def _compare(gate: Mapping[str, Any]) -> str:
    detectable = gate.get("smallest_detectable_difference")
    version = gate.get("champion_version")
    against = f"Overlap against champion {version}" if version else "Overlap against the champion"
    phrase = (
        "There is no champion yet."
        if gate["comparison"] == "no champion"
        else f"{against}: **{gate['comparison']}**."
    )
    if detectable is None:
        return phrase
    return f"{phrase} Differences of AO below {_show(detectable)} are too small for this test set to see."


def _list_gates(gate: Mapping[str, Any], room: int) -> list[str]:
    """Those with a number as a table, failures first; the rest by name."""
    ranked = sorted(gate["checks"], key=lambda check: check["passed"])
    numbered = [check for check in ranked if check["value"] is not None]
    shown = numbered[:room]
    others = [check["name"] for check in ranked if check not in shown]
    rows = [
        f"| {c['name']} | {_show(c['value'])} | {_show_interval(c)} | {_show_need(c)} | "
        f"{'✓' if c['passed'] else '✕'} |"
        for c in shown
    ]
    more = ["", f"Also judged, without a number: {', '.join(others)}."] if others else []
    return ["| gate | value | 95 % interval | needs | |", "|---|---:|---|---:|---|", *rows, *more]


def _list_numbers(metrics: Mapping[str, Any]) -> list[str]:
    lines = []
    for title, (name, beside) in COMPARED.items():
        if not _is_number(metrics.get(name)):
            continue
        known = {k: metrics[v] for k, v in beside.items() if _is_number(metrics.get(v))}
        others = ", ".join(f"{k} {_show(v)}" for k, v in known.items())
        lines.append(f"- {title}: **{_show(metrics[name])}**" + (f" ({others})" if others else ""))
    return lines


def _name_weakest(slices: pd.DataFrame) -> list[str]:
    known = slices[slices["low"].notna()].nsmallest(3, "ao") if len(slices) else slices
    if known.empty:
        return []
    named = [
        f"{row['kind']} {row['slice']} {_show(row['ao'])} ({row['sequences']} sequences)"
        for row in known.to_dict("records")
    ]
    return [f"- Weakest slices by AO: {_escape(', '.join(named))}"]


def _name_origin(gate: Mapping[str, Any], lineage: Any) -> str:
    git = (lineage or {}).get("git", {})
    code = f"git `{(git.get('revision') or 'unknown')[:12]}`{' and changes' if git.get('changed') else ''}"
    bound = gate.get("bound", {})
    weights = str(bound.get("weights_sha256", "unknown"))[:12]
    data = str(bound.get("evaluation_data_sha256", "unknown"))[:12]
    return f"- weights `{weights}`, test data `{data}`, {code}"


def _show_interval(check: Mapping[str, Any]) -> str:
    low, high = check.get("low"), check.get("high")
    return "" if low is None or high is None else f"{_show(low)} to {_show(high)}"


def _show_need(check: Mapping[str, Any]) -> str:
    if check["threshold"] is None:
        return ""
    return f"{'≤' if check.get('at_most') else '≥'} {_show(check['threshold'])}"


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _show(value: float) -> str:
    return (f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}").replace("-", "−")


def _escape(text: str) -> str:
    """Keep what comes from the data from being read as a table or as HTML."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
