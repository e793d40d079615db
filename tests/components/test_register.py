"""What the register step lets into the registry, and what it refuses in one sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from components import gate, register
from trackline import artifacts, config, registry

if TYPE_CHECKING:
    from tests.components.conftest import Project

RESULT = Path("metrics/register.json")
VERDICT = Path("metrics/gate.json")


def count_versions(project: Project) -> int:
    """How many versions the registry has of this project's model."""
    return len(registry.list_versions(registry.connect(config.Registry(project.name))))


def test_an_accepted_model_becomes_a_version(
    project: Project, capsys: pytest.CaptureFixture[str], registry_uri: str
) -> None:
    Path("plots").mkdir()
    Path("plots/train.csv").write_text("epoch,Loss/total,IoU\n0,3.0,0.1\n1,2.0,0.5\n")
    assert gate.main([]) == 0
    assert register.main([]) == 0
    result = artifacts.read_json(RESULT)
    assert result == {
        "name": project.name,
        "version": 1,
        "alias": "candidate",
        "sha256": artifacts.verify(Path("artifacts/model")),
        "registry": registry_uri,
    }
    store = registry.connect(config.Registry(project.name))
    version = registry.find_version(store, "candidate")
    assert version.tags["git.revision"] == "abc123"
    assert version.tags["data.dvc_md5"] == "0d"
    metrics = store.client.get_run(version.run_id).data.metrics
    assert metrics["IoU"] == 0.5
    assert metrics["ao_static"] == 0.3
    printed = capsys.readouterr().out
    for hint in ("passed", "version 1", "reports/index.html", "mlflow ui --backend-store-uri",
                 "--host 127.0.0.1", "trackline registry promote 1"):  # fmt: skip
        assert hint in printed


def test_the_card_of_a_version_has_its_results_and_what_a_person_answered(project: Project) -> None:
    card = "{owner: Ada, weights_licence: Apache-2.0}"
    Path("params.yaml").write_text(f"registry: {{name: {project.name}, card: {card}}}\n")
    Path("plots").mkdir()
    columns = "kind,slice,sequences,ao,low,high"
    Path("plots/slices.csv").write_text(
        f"{columns}\nsize,small|x,9,0.4,0.3,0.5\nsize,large,1,0.6,,\n"
    )
    assert gate.main([]) == 0
    assert register.main([]) == 0
    store = registry.connect(config.Registry(project.name))
    version = registry.find_version(store, "candidate")
    text = (registry.read_evidence(store, version, Path("found")) / "MODEL_CARD.md").read_text()
    for line in (
        "| size small/x | 0.400 | 0.300 to 0.500 | 9 |",
        "| size large | 0.600 |  | 1 |",
        "- Owner: Ada",
        "- Licence of the weights: Apache-2.0",
        "- Licence of the data: not stated",
    ):
        assert line in text


def test_a_check_says_what_register_would_and_registers_nothing(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    gate.main([])
    assert register.main(["--check"]) == 0
    project.evaluate(shift=-0.5)
    gate.main([])
    assert register.main(["--check"]) == 2
    assert "the model is refused" in capsys.readouterr().err
    assert not RESULT.exists()
    assert count_versions(project) == 0


def test_registering_twice_is_one_version(project: Project) -> None:
    gate.main([])
    register.main([])
    before = RESULT.read_bytes()
    assert register.main([]) == 0
    assert RESULT.read_bytes() == before
    assert count_versions(project) == 1


def test_a_rejected_model_is_refused_with_the_failed_gates(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.evaluate(shift=-0.5)
    gate.main([])
    capsys.readouterr()
    assert register.main([]) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        "error: the model is refused, 3 of 10 gates failed: ao (mean overlap is 0.29"
    )
    assert "below gate.min_ao = 0.5" in error
    assert "gain_over_static" in error
    assert error.endswith("see reports/index.html\n")
    assert error.count("\n") == 1
    assert not RESULT.exists()
    assert count_versions(project) == 0


def edit_verdict(project: Project) -> None:
    verdict = artifacts.read_json(VERDICT)
    artifacts.write_json(VERDICT, {**verdict, "passed": True, "verdict": "accepted"})


def edit_one_check(project: Project) -> None:
    text = VERDICT.read_text()
    VERDICT.write_text(text.replace('"passed": false', '"passed": true'))


def edit_metrics(project: Project) -> None:
    metrics = artifacts.read_json(Path("metrics/evaluate.json"))
    artifacts.write_json(Path("metrics/evaluate.json"), {**metrics, "ao": 0.99})


def loosen_thresholds(project: Project) -> None:
    Path("params.yaml").write_text(f"gate: {{min_ao: 0.1}}\nregistry: {{name: {project.name}}}\n")


def train_again(project: Project) -> None:
    project.pack("other weights")


def pin_another_champion(project: Project) -> None:
    pin = {"name": project.name, "version": 7, "sha256": "f" * 64}
    artifacts.write_json(Path("champion.json"), pin)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (edit_verdict, "metrics/gate.json was edited after the gate had written it"),
        (edit_one_check, "metrics/gate.json was edited after the gate had written it"),
        (edit_metrics, "after the gate these changed: the metrics of the evaluation;"),
        (loosen_thresholds, "after the gate these changed: the thresholds in params.yaml;"),
        (train_again, "after the gate these changed: the model package, the weights;"),
        (pin_another_champion, "after the gate these changed: the champion;"),
    ],
)
def test_a_verdict_that_was_edited_or_overtaken_is_refused(
    project: Project, capsys: pytest.CaptureFixture[str], change: object, words: str
) -> None:
    project.evaluate(shift=-0.4)
    gate.main([])
    capsys.readouterr()
    assert callable(change)
    change(project)
    assert register.main([]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "run python -m components.gate again" in error
    assert error.count("\n") == 1
    assert not RESULT.exists()


def test_edited_metrics_fail_the_gate_that_is_run_again(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.evaluate(shift=-0.4)
    edit_metrics(project)
    gate.main([])
    assert register.main([]) == 2
    assert "the metrics say ao is 0.9900, the predictions give 0.39" in capsys.readouterr().err


def test_a_tampered_package_is_refused(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    gate.main([])
    Path("artifacts/model/model.safetensors").write_text("tampered")
    assert register.main([]) == 21
    assert "was altered: model.safetensors" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["metrics/gate.json", "metrics/evaluate.json"])
def test_steps_that_did_not_run_are_named(
    project: Project, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    gate.main([])
    Path(missing).unlink()
    assert register.main([]) == 10
    assert f"{missing} does not exist" in capsys.readouterr().err


def test_an_unwritable_registry_leaves_the_earlier_results(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    shutil.rmtree("registry", ignore_errors=True)
    Path("registry").write_text("a file where the folder should be, which stops even root")
    gate.main([])
    artifacts.write_json(RESULT, {"version": 0})
    capsys.readouterr()
    assert register.main([]) == 20
    error = capsys.readouterr().err
    assert "sqlite:///registry/mlflow.db cannot be used" in error
    assert "MLFLOW_TRACKING_URI" in error
    assert error.count("\n") == 1
    assert json.loads(RESULT.read_text()) == {"version": 0}
    assert VERDICT.exists()
