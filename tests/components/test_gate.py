"""The gate step: it judges whatever the model is worth, and binds the verdict to what it saw."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from components import gate
from trackline import artifacts

if TYPE_CHECKING:
    from tests.components.conftest import Project

VERDICT = Path("metrics/gate.json")


def run() -> dict[str, Any]:
    """Run the step where it stands; return the verdict it wrote."""
    assert gate.main([]) == 0
    return dict(artifacts.read_json(VERDICT))


def pin_champion(project: Project, shift: float = 0.0, sequences: int = 30) -> None:
    """Pin a champion, version 3, that was fetched before."""
    project.evaluate(shift, weights="the champion's", sequences=sequences)
    assert gate.main([]) == 0
    folder = project.root / "registry/cache/3"
    shutil.copytree("artifacts/model", folder / "model")
    (folder / "evaluation").mkdir()
    for file in ("artifacts/predictions.parquet", "metrics/gate.json"):
        shutil.copy(file, folder / "evaluation")
    pin = {"name": project.name, "version": 3, "sha256": artifacts.verify(folder / "model")}
    artifacts.write_json(Path("champion.json"), pin)


def test_a_good_model_is_accepted_and_every_gate_printed(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    judged = run()
    printed = capsys.readouterr().out
    assert judged["passed"] is True
    assert judged["verdict"] == "accepted"
    for line in judged["checks"]:
        assert line["name"] in printed
    assert "verdict: accepted (no champion)" in printed


def test_a_rejected_model_is_a_result_and_no_failure(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.evaluate(shift=-0.5)
    judged = run()
    assert judged["passed"] is False
    assert judged["verdict"] == "rejected"
    assert "FAILED  mean overlap is 0.29" in capsys.readouterr().out


def test_the_verdict_is_bound_to_all_it_rests_on(project: Project) -> None:
    bound = run()["bound"]
    assert bound["weights_sha256"] == artifacts.sha256(Path("artifacts/model/model.safetensors"))
    assert bound["package_sha256"] == artifacts.verify(Path("artifacts/model"))
    assert bound["predictions_sha256"] == artifacts.sha256(Path("artifacts/predictions.parquet"))
    assert bound["metrics_sha256"] == artifacts.sha256(Path("metrics/evaluate.json"))
    assert bound["evaluation_data_sha256"] == f"{30:064}"
    assert bound["champion_sha256"] is None
    assert len(bound["thresholds_sha256"]) == len(bound["code_sha256"]) == 64


def test_the_same_inputs_give_the_same_bytes(project: Project) -> None:
    run()
    before = VERDICT.read_bytes()
    run()
    assert VERDICT.read_bytes() == before


def test_thresholds_come_from_params(project: Project) -> None:
    Path("params.yaml").write_text("gate: {min_ao: 0.95}\n")
    judged = run()
    assert [line["name"] for line in judged["checks"] if not line["passed"]] == ["ao"]


@pytest.mark.parametrize(
    ("shift", "verdict", "comparison"),
    [
        (0.05, "accepted", "better"),
        (0.0, "accepted", "no measurable change"),
        (-0.1, "rejected", "significantly worse"),
    ],
)
def test_the_pinned_champion_is_met(
    project: Project, shift: float, verdict: str, comparison: str
) -> None:
    pin_champion(project)
    project.evaluate(shift)
    judged = run()
    assert (judged["verdict"], judged["comparison"]) == (verdict, comparison)
    assert judged["champion_version"] == 3
    assert (
        judged["bound"]["champion_sha256"] == artifacts.read_json(Path("champion.json"))["sha256"]
    )


def test_a_champion_of_another_test_set_needs_new_predictions(project: Project) -> None:
    pin_champion(project, sequences=28)
    project.evaluate()
    assert run()["comparison"] == "not comparable"
    artifacts.write_table(Path("again.parquet"), project.predict())
    assert gate.main(["--champion-predictions", "again.parquet"]) == 0
    judged = artifacts.read_json(VERDICT)
    assert judged["comparison"] == "no measurable change"


def test_missing_validation_and_drift_are_told_by_the_gates(project: Project) -> None:
    Path("metrics/validate.json").unlink()
    Path("metrics/drift.json").unlink()
    judged = run()
    assert [c["name"] for c in judged["checks"] if not c["passed"]] == ["data_validated"]


@pytest.mark.parametrize(
    ("file", "content", "code", "words"),
    [
        ("metrics/evaluate.json", None, 10, "run the step that writes it first"),
        ("metrics/evaluate.json", "{", 10, "is not JSON"),
        ("artifacts/predictions.parquet", None, 10, "run the step that writes it first"),
        ("artifacts/predictions.parquet", "x", 10, "is no table"),
        ("artifacts/model/SHA256SUMS", None, 21, "it is not a model package"),
        ("artifacts/model/model.safetensors", "tampered", 21, "was altered: model.safetensors"),
        ("champion.json", None, 20, "restore it from git"),
        ("champion.json", '{"name": "tracker", "version": 3, "sha256": null}', 20, "no pin"),
        ("params.yaml", "gate: {min_ao: 65}", 3, "did you mean 0.65?"),
    ],
)
def test_bad_input_has_an_exit_code_and_leaves_the_earlier_verdict(
    project: Project,
    capsys: pytest.CaptureFixture[str],
    file: str,
    content: str | None,
    code: int,
    words: str,
) -> None:
    run()
    before = VERDICT.read_bytes()
    Path(file).unlink() if content is None else Path(file).write_text(content)
    assert gate.main([]) == code
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert VERDICT.read_bytes() == before
