"""The summary: short, the verdict first, and nothing in it that Markdown would take for its own."""

from __future__ import annotations

from typing import Any

import pandas as pd

from trackline.evaluation.slices import TABLE
from trackline.evaluation.summary import summarise, tabulate

METRICS = {
    "sequences": 60,
    "frames": 865,
    "ao": 0.55,
    "ao_static": 0.2,
    "ao_csrt": None,
    "ece": 0.1,
}
NONE = pd.DataFrame(columns=TABLE)


def check(name: str, passed: bool = True, value: float | None = 0.5) -> dict[str, Any]:
    return {"name": name, "passed": passed, "why": f"{name} is | <b>so</b>", "value": value,
            "threshold": 0.4, "low": 0.3, "high": 0.6}  # fmt: skip


def judge(*checks: dict[str, Any]) -> dict[str, Any]:
    passed = all(c["passed"] for c in checks)
    return {"passed": passed, "verdict": "accepted" if passed else "rejected",
            "comparison": "better", "champion_version": 3,
            "smallest_detectable_difference": 0.03, "checks": list(checks)}  # fmt: skip


def test_the_verdict_is_the_first_line_and_says_how_much_it_can_see() -> None:
    text = summarise(judge(check("ao")), METRICS, NONE, {"git": {"revision": "abcdef"}})
    assert text.splitlines()[0] == "## ✅ Accepted: all 1 gates passed"
    assert "Overlap against champion 3: **better**. Differences of AO below 0.030" in text
    assert "| ao | 0.500 | 0.300 to 0.600 | ≥ 0.400 | ✓ |" in text
    assert "- Average overlap: **0.550** (static box 0.200)" in text
    assert "git `abcdef`" in text
    assert "and changes" not in text


def test_a_working_tree_with_changes_is_no_revision() -> None:
    lineage = {"git": {"revision": "abcdef", "changed": True}}
    text = summarise(judge(check("ao")), METRICS, NONE, lineage)
    assert "git `abcdef` and changes" in text


def test_a_table_ends_with_an_empty_line_or_the_next_sentence_would_be_a_row_of_it() -> None:
    lines = summarise(
        judge(check("ao"), check("drift", value=None)), METRICS, NONE, {}
    ).splitlines()
    last = max(i for i, line in enumerate(lines) if line.startswith("|"))
    assert lines[last + 1 : last + 3] == ["", "Also judged, without a number: drift."]


def test_in_a_terminal_what_failed_and_what_has_no_number_say_why() -> None:
    checks = [check("ao"), check("ece", passed=False), {**check("drift"), "value": None}]
    _, good, bad, plain = tabulate(checks).splitlines()
    assert good.split() == ["ao", "0.500", "0.300", "to", "0.600", "≥", "0.400", "passed"]
    assert bad.endswith("FAILED  ece is | <b>so</b>")
    assert plain.endswith("passed  drift is | <b>so</b>")


def test_reasons_of_a_rejection_come_before_any_number_and_cannot_be_markup() -> None:
    text = summarise(judge(check("ao"), check("ece", passed=False)), METRICS, NONE, {})
    lines = text.splitlines()
    assert lines[0] == "## ❌ Rejected: 1 of 2 gates failed"
    assert lines[2] == r"- **ece**: ece is \| &lt;b>so&lt;/b>"


def test_however_many_gates_there_are_it_stays_within_forty_lines() -> None:
    checks = [check(f"slice {i}", passed=i % 2 == 0) for i in range(80)]
    slices = pd.DataFrame([{"kind": "class", "slice": "a", "sequences": 6, "frames": 9, "ao": 0.2,
                            "low": 0.1, "high": 0.3, "accuracy": 1, "note": ""}])  # fmt: skip
    text = summarise(judge(*checks), METRICS, slices, None)
    assert len(text.splitlines()) <= 40
    assert "- and 35 more" in text
    assert "class a 0.200 (6 sequences)" in text
