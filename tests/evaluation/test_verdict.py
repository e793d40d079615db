"""A verdict holds for what it was given for, and is refused once anything of it has changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.evaluation.evidence import THRESHOLDS, predict, weigh
from trackline import artifacts
from trackline.config import Gate
from trackline.errors import DataError, GateRefused, PackageError
from trackline.evaluation import verdict
from trackline.evaluation.gates import judge


@pytest.fixture
def judged(tmp_path: Path) -> verdict.Judged:
    """The files of an evaluated model."""
    files = verdict.Judged(tmp_path / "model", tmp_path / "e.json", tmp_path / "p.parquet")
    files.package.mkdir()
    (files.package / "model.safetensors").write_bytes(b"weights")
    artifacts.write_sums(files.package)
    artifacts.write_json(files.metrics, {"ao": 0.5, "evaluation_data_sha256": "d1"})
    artifacts.write_table(files.predictions, predict())
    return files


def seal(judged: verdict.Judged) -> Path:
    """Write a verdict about these files."""
    path = judged.metrics.with_name("gate.json")
    verdict.write(path, {"passed": True, "checks": []}, verdict.bind(judged, None, THRESHOLDS))
    return path


def test_a_verdict_holds_while_nothing_changes(judged: verdict.Judged) -> None:
    found = verdict.confirm(seal(judged), verdict.bind(judged, None, THRESHOLDS))
    assert found["passed"] is True
    assert set(found["bound"]) == set(verdict.BOUND)


def test_an_edited_verdict_is_found_out(judged: verdict.Judged) -> None:
    path = seal(judged)
    path.write_text(path.read_text().replace('"passed": true', '"passed": false'))
    with pytest.raises(GateRefused, match=r"gate\.json was edited"):
        verdict.confirm(path, verdict.bind(judged, None, THRESHOLDS))


def test_reformatting_a_verdict_is_no_edit(judged: verdict.Judged) -> None:
    path = seal(judged)
    path.write_text(path.read_text().replace("\n", ""))
    verdict.confirm(path, verdict.bind(judged, None, THRESHOLDS))


def test_each_thing_that_changed_is_named(judged: verdict.Judged) -> None:
    path = seal(judged)
    artifacts.write_json(judged.metrics, {"ao": 0.9, "evaluation_data_sha256": "d2"})
    artifacts.write_table(judged.predictions, predict(shift=0.1))
    now = verdict.bind(judged, "c0ffee", Gate(min_ao=0.4))
    with pytest.raises(GateRefused) as refusal:
        verdict.confirm(path, now)
    for name in ("metrics", "predictions", "test data", "champion", "thresholds"):
        assert name in str(refusal.value)
    for name in ("weights", "package", "code"):
        assert name not in str(refusal.value)


def test_only_the_named_bounds_are_compared(judged: verdict.Judged) -> None:
    now = verdict.bind(judged, "c0ffee", Gate(min_ao=0.4))
    verdict.confirm(seal(judged), now, verdict.OF_THE_MODEL)


def test_new_weights_change_the_bound_and_old_sums_are_refused(judged: verdict.Judged) -> None:
    before = verdict.bind(judged, None, THRESHOLDS)
    (judged.package / "model.safetensors").write_bytes(b"other")
    with pytest.raises(PackageError):
        verdict.bind(judged, None, THRESHOLDS)
    artifacts.write_sums(judged.package)
    after = verdict.bind(judged, None, THRESHOLDS)
    assert {k for k in before if before[k] != after[k]} == {"weights_sha256", "package_sha256"}


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_a_result_that_is_no_object_cannot_be_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError, match="run the step"):
        verdict.read(tmp_path / "x.json")


def test_a_refusal_names_every_failed_gate_and_the_report() -> None:
    judged = judge(weigh(predict(shift=-0.5), metrics={"ao_static": 0.3}), THRESHOLDS)
    with pytest.raises(GateRefused) as refusal:
        verdict.refuse_rejected(judged, Path("reports/index.html"))
    for line in judged["checks"]:
        assert (line["why"] in str(refusal.value)) is not line["passed"]
    assert "reports/index.html" in str(refusal.value)
