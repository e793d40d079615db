"""How a version becomes the champion, and what may stand in its way."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from components import gate, promote, register
from trackline import artifacts, champion, config, registry

if TYPE_CHECKING:
    from tests.components.conftest import Project

PIN = Path("champion.json")


def release(project: Project, shift: float, weights: str) -> int:
    """Evaluate, gate and register a model; return its version."""
    project.evaluate(shift, weights)
    assert gate.main([]) == 0
    assert register.main([]) == 0
    return int(artifacts.read_json(Path("metrics/register.json"))["version"])


def find_champion(project: Project) -> registry.Version | None:
    """The champion that the registry knows."""
    return champion.find_champion(registry.connect(config.Registry(project.name)))


def test_the_first_champion_is_promoted_and_pinned(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    release(project, 0.0, "first")
    assert promote.main(["--version", "1", "--reason", "the first"]) == 0
    sums = artifacts.verify(Path("artifacts/model"))
    assert artifacts.read_json(PIN) == {"name": project.name, "version": 1, "sha256": sums}
    found = find_champion(project)
    assert found is not None
    assert found.tags["promoted_why"] == "the first"
    assert "version 1 is the champion (there was none)" in capsys.readouterr().out


def test_the_next_gate_meets_the_new_champion_without_asking_the_registry(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(project, 0.0, "first")
    promote.main(["--version", "1"])
    project.evaluate(-0.1, "worse")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////dev/null/nowhere.db")
    assert gate.main([]) == 0
    verdict = artifacts.read_json(Path("metrics/gate.json"))
    assert verdict["comparison"] == "significantly worse"
    assert verdict["champion_version"] == 1


def test_a_better_model_takes_over_and_the_old_one_may_return(project: Project) -> None:
    release(project, 0.0, "first")
    promote.main(["--version", "1"])
    release(project, 0.05, "second")
    assert promote.main(["--version", "2"]) == 0
    stricter = f"gate: {{min_ao: 0.84}}\nregistry: {{name: {project.name}}}\n"
    Path("params.yaml").write_text(stricter)
    assert promote.main(["--version", "1", "--reason", "roll back"]) == 0
    found = find_champion(project)
    assert found is not None
    assert (found.version, found.tags["previous_champion"]) == (1, "2")
    assert artifacts.read_json(PIN)["version"] == 1


def test_a_verdict_against_an_earlier_champion_does_not_hold(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    release(project, 0.0, "first")
    release(project, 0.05, "second")
    promote.main(["--version", "2"])
    capsys.readouterr()
    assert promote.main(["--version", "1"]) == 2
    assert "after the gate these changed: the champion;" in capsys.readouterr().err
    assert artifacts.read_json(PIN)["version"] == 2


def test_a_verdict_on_other_thresholds_does_not_hold(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    release(project, 0.0, "first")
    Path("params.yaml").write_text(f"gate: {{min_ao: 0.9}}\nregistry: {{name: {project.name}}}\n")
    assert promote.main(["--version", "1"]) == 2
    assert "the thresholds in params.yaml" in capsys.readouterr().err
    assert find_champion(project) is None


def test_a_pin_behind_the_registry_is_refused(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    before = PIN.read_bytes()
    release(project, 0.0, "first")
    release(project, 0.05, "second")
    promote.main(["--version", "1"])
    PIN.write_bytes(before)
    capsys.readouterr()
    assert promote.main(["--version", "2"]) == 20
    assert "is version 1, not None as champion.json says" in capsys.readouterr().err
    assert PIN.read_bytes() == before


def test_a_promotion_killed_before_its_pin_is_finished_by_the_next(project: Project) -> None:
    before = PIN.read_bytes()
    release(project, 0.0, "first")
    promote.main(["--version", "1"])
    after = PIN.read_bytes()
    PIN.write_bytes(before)
    assert promote.main(["--version", "1"]) == 0
    assert PIN.read_bytes() == after


def test_a_version_altered_in_the_registry_is_refused(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    release(project, 0.0, "first")
    store = registry.connect(config.Registry(project.name))
    run = store.home / "artifacts" / registry.find_version(store, 1).run_id / "artifacts"
    (run / "model/model.safetensors").write_text("tampered")
    assert promote.main(["--version", "1"]) == 21
    assert "was altered in the registry" in capsys.readouterr().err
    assert find_champion(project) is None


def test_evidence_altered_in_the_registry_is_refused(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    release(project, 0.0, "first")
    store = registry.connect(config.Registry(project.name))
    run = store.home / "artifacts" / registry.find_version(store, 1).run_id / "artifacts"
    artifacts.write_table(run / "evaluation/predictions.parquet", project.predict(0.1))
    assert promote.main(["--version", "1"]) == 2
    assert "the predictions" in capsys.readouterr().err


def test_an_unknown_version_is_answered_with_the_known_ones(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    release(project, 0.0, "first")
    assert promote.main(["--version", "9"]) == 20
    assert "has no version 9" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--version", "new"], []])
def test_a_command_line_without_a_version_is_not_understood(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as left:
        promote.main(arguments)
    assert left.value.code == 64
