"""The validate step: everything is written, then bad data stop the pipeline with their own code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.index import index
from components.validate import main
from trackline import artifacts
from trackline.data import table
from trackline.validation import QUARANTINE

TABLE = Path("artifacts/annotations.parquet")
METRICS = Path("metrics/validate.json")
PAGE = Path("reports/validation.html")
VIOLATIONS = Path("artifacts/quarantine.parquet")


@pytest.fixture
def project(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An indexed project; the step runs in it without options."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(f"data: {{path: {world}}}")
    index(world, TABLE)
    return tmp_path


def spoil() -> None:
    table = pd.read_parquet(TABLE)
    table.loc[table.index[table["visible"]][7:9], "h"] = np.nan
    artifacts.write_table(TABLE, table)


def test_good_data_pass_and_leave_three_files(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([]) == 0
    verdict = artifacts.read_json(METRICS)
    assert (verdict["passed"], verdict["rows"], verdict["sequences"]) == (True, 260, 40)
    assert all(rule["passed"] for rule in verdict["rules"])
    assert list(pd.read_parquet(VIOLATIONS).columns) == list(QUARANTINE)
    assert PAGE.is_file()
    assert "passed: 260 frames of 40 sequences" in capsys.readouterr().out


def test_the_same_data_give_the_same_bytes(project: Path) -> None:
    outputs = (METRICS, PAGE, VIOLATIONS)
    main([])
    first = [path.read_bytes() for path in outputs]
    main([])
    assert [path.read_bytes() for path in outputs] == first


def test_bad_data_are_written_down_before_the_step_fails(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil()
    assert main([]) == 14
    printed = capsys.readouterr()
    assert printed.err.startswith("error: 2 frames broke the rule 'boxes are finite'")
    assert printed.err.count("\n") == 1
    assert "boxes are finite                           FAILED         2" in printed.out
    verdict = artifacts.read_json(METRICS)
    (rule,) = [rule for rule in verdict["rules"] if not rule["passed"]]
    assert (verdict["passed"], rule["name"], rule["count"]) == (False, "boxes are finite", 2)
    assert pd.read_parquet(VIOLATIONS)["rule"].tolist() == ["boxes are finite"] * 2
    assert "boxes are finite" in PAGE.read_text()


def test_results_outlive_a_run_that_cannot_read_the_table(project: Path) -> None:
    main([])
    before = METRICS.read_bytes()
    TABLE.write_bytes(b"PAR1 cut")
    assert main([]) == 10
    assert METRICS.read_bytes() == before


def test_a_class_outside_the_configuration_has_its_own_code(project: Path, world: Path) -> None:
    Path("params.yaml").write_text(f"data: {{path: {world}, classes: [unicorn]}}")
    assert main([]) == 15


def test_quarantine_sets_aside_what_breaks_an_error_and_goes_on(
    project: Path, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil()
    Path("params.yaml").write_text(f"data: {{path: {world}}}\nvalidate: {{quarantine: true}}")
    assert main([]) == 0
    assert "set aside: 2 frames" in capsys.readouterr().out
    listed = pd.read_parquet(VIOLATIONS)
    assert listed["aside"].tolist() == ["frame"] * 2
    assert artifacts.read_json(METRICS)["quarantined_share"] == pytest.approx(2 / 260, abs=1e-6)
    everything, kept = table.read_whole(TABLE), table.read(TABLE)
    assert (len(everything), len(kept)) == (260, 258)
    lost = everything.merge(listed[["sequence", "frame"]], on=["sequence", "frame"])
    assert lost["h"].isna().all()


def test_quarantine_has_a_limit(
    project: Path, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil()
    limits = "{quarantine: true, max_quarantined: 0.001}"
    Path("params.yaml").write_text(f"data: {{path: {world}}}\nvalidate: {limits}")
    assert main([]) == 16
    assert "0.8% of the frames would be set aside" in capsys.readouterr().err


def test_a_sequence_goes_when_too_little_of_it_is_left(project: Path, world: Path) -> None:
    rows = pd.read_parquet(TABLE)
    rows.loc[rows["sequence"] == rows["sequence"].iloc[0], "w"] = 0.0
    artifacts.write_table(TABLE, rows)
    Path("params.yaml").write_text(f"data: {{path: {world}}}\nvalidate: {{quarantine: true}}")
    assert main([]) == 0
    assert rows["sequence"].iloc[0] not in set(table.read(TABLE)["sequence"])


def test_a_rule_can_be_made_a_warning_or_ignored(project: Path, world: Path) -> None:
    spoil()
    for severity in ("warning", "ignore"):
        rules = f"{{severity: {{boxes are finite: {severity}}}}}"
        Path("params.yaml").write_text(f"data: {{path: {world}}}\nvalidate: {rules}")
        assert main([]) == 0


def test_a_rule_that_is_not_there_is_named_with_the_nearest(
    project: Path, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = "{severity: {boxes are fine: warning}}"
    Path("params.yaml").write_text(f"data: {{path: {world}}}\nvalidate: {rules}")
    assert main([]) == 3
    assert "did you mean 'boxes are finite'" in capsys.readouterr().err
