"""How a version becomes the champion, and what may stand in its way."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from components import gate, promote, register
from tests.components.conftest import annotate
from trackline import artifacts, champion, cli, config, registry

if TYPE_CHECKING:
    from tests.components.conftest import Project

PIN = Path("champion.json")


def release(project: Project, shift: float, weights: str) -> int:
    """Evaluate, gate and register a model; return its version."""
    project.evaluate(shift, weights)
    assert gate.main([]) == 0
    assert register.main([]) == 0
    return int(artifacts.read_json(Path("metrics/register.json"))["version"])


def call(*arguments: str) -> int:
    """Run `trackline registry`."""
    return cli.main(["registry", *arguments])


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
    (move,) = champion.list_moves(registry.connect(config.Registry(project.name)))
    assert (move["from"], move["to"], move["why"]) == (None, 1, "the first")
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


def test_a_better_model_takes_over_and_a_rollback_brings_the_old_one_back(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    release(project, 0.0, "first")
    promote.main(["--version", "1"])
    release(project, 0.05, "second")
    assert promote.main(["--version", "2"]) == 0
    stricter = f"gate: {{min_ao: 0.84}}\nregistry: {{name: {project.name}}}\n"
    Path("params.yaml").write_text(stricter)  # an emergency does not wait for a gate
    assert call("rollback", "--reason", "it stutters") == 0
    found = find_champion(project)
    assert found is not None
    assert found.version == artifacts.read_json(PIN)["version"] == 1
    last = champion.list_moves(registry.connect(config.Registry(project.name)))[-1]
    assert (last["kind"], last["from"], last["to"], last["why"]) == (
        "rollback", 2, 1, "it stutters",
    )  # fmt: skip
    capsys.readouterr()
    assert call("rollback") == 20
    assert "no champion before the present one" in capsys.readouterr().err


def test_a_rollback_killed_before_its_pin_is_finished_and_not_repeated(project: Project) -> None:
    for number, shift in ((1, 0.0), (2, 0.05), (3, 0.1)):
        release(project, shift, f"weights {number}")
        promote.main(["--version", str(number)])
    before = PIN.read_bytes()
    assert call("rollback") == 0
    PIN.write_bytes(before)
    assert call("rollback") == 0
    assert artifacts.read_json(PIN)["version"] == 2


def test_a_verdict_against_an_earlier_champion_needs_the_test_data_to_be_judged_again(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    release(project, 0.0, "first")
    release(project, 0.05, "second")
    promote.main(["--version", "2"])
    Path("artifacts/annotations.parquet").unlink()
    capsys.readouterr()
    assert promote.main(["--version", "1"]) == 2
    error = capsys.readouterr().err
    assert "no longer holds, because these changed: the champion;" in error
    assert "artifacts/annotations.parquet is needed" in error
    assert artifacts.read_json(PIN)["version"] == 2


def test_a_candidate_is_judged_again_against_the_present_champion_and_may_lose(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    release(project, 0.0, "first")
    release(project, 0.1, "second")
    promote.main(["--version", "2"])
    capsys.readouterr()
    assert promote.main(["--version", "1"]) == 2
    error = capsys.readouterr().err
    assert "champion_ao" in error
    assert "reports/promotion.html" in error
    assert artifacts.read_json(PIN)["version"] == 2


def test_a_candidate_that_passes_again_rests_on_the_new_verdict(project: Project) -> None:
    release(project, 0.0, "first")
    release(project, 0.01, "second")
    promote.main(["--version", "1"])
    store = registry.connect(config.Registry(project.name))
    old = registry.find_version(store, 2).tags
    assert promote.main(["--version", "2"]) == 0
    new = registry.find_version(store, 2).tags
    first = registry.find_version(store, 1)
    assert old["verdict.champion_sha256"] == "None"
    assert new["verdict.champion_sha256"] == first.sha256
    assert new["evaluation_sha256"] != old["evaluation_sha256"]


def test_thresholds_raised_since_are_applied(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    release(project, 0.0, "first")
    Path("params.yaml").write_text(f"gate: {{min_ao: 0.9}}\nregistry: {{name: {project.name}}}\n")
    assert promote.main(["--version", "1"]) == 2
    assert "below gate.min_ao = 0.9" in capsys.readouterr().err
    assert find_champion(project) is None


def test_a_test_set_that_is_newer_than_the_verdict_means_new_predictions_of_both(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(project, 0.0, "first")
    promote.main(["--version", "1"])
    release(project, 0.05, "second")
    measured = []

    def measure(_params: object, model: Path, _tree: object, out: Path) -> Path:
        measured.append(model.parent.name)
        better = 0.05 if model.parent.name == "2" else 0.0
        project.evaluate(better, "second", sequences=40)
        out.mkdir()
        for name in ("metrics/evaluate.json", "artifacts/predictions.parquet"):
            (out / Path(name).name).write_bytes(Path(name).read_bytes())
        return out

    monkeypatch.setattr(promote, "measure", measure)
    artifacts.write_table(Path("artifacts/annotations.parquet"), annotate(40))
    assert promote.main(["--version", "2"]) == 0
    assert sorted(measured) == ["1", "2"]
    tags = registry.find_version(registry.connect(config.Registry(project.name)), 2).tags
    assert tags["verdict.evaluation_data_sha256"] == f"{40:064}"


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
    assert "is version 1, not none as champion.json says" in capsys.readouterr().err
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
    (stored,) = run.glob("evaluation/*/predictions.parquet")
    artifacts.write_table(stored, project.predict(0.1))
    assert promote.main(["--version", "1"]) == 21
    assert "predictions.parquet no longer matches" in capsys.readouterr().err


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
