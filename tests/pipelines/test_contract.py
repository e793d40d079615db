"""The graph says what dvc.yaml says: steps, inputs, outputs, parameters, order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import environment, package
from pipelines.graph import FILES, PAGES, SECTIONS, Inputs
from trackline import config
from trackline.champion import Pin

ROOT = Path(__file__).parents[2]
STAGES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
ONLY_KUBEFLOW = {"fetch", "reject", "notify"}
REVISION = "e807f842e3a1fa97e23ab2052d278d08.dir"


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The compiled example."""
    example = environment.load(ROOT / "pipelines/environments/example.yaml")
    inputs = Inputs(REVISION, config.load(ROOT / "params.yaml"), Pin("tracker"))
    out = tmp_path_factory.mktemp("package") / "pipeline.yaml"
    return package.read_documents(package.compile_package(example, inputs, out).read_text())[0]


def names(entries: list[Any]) -> set[str]:
    return {next(iter(e)) if isinstance(e, dict) else e for e in entries}


def outputs(stage: dict[str, Any]) -> set[str]:
    made = names([*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])])
    return gather(made)


def gather(paths: set[str]) -> set[str]:
    """What evaluate plots is one artifact, a folder."""
    plots = {path for path in paths if path.startswith("plots/") and path != "plots/train.csv"}
    return (paths - plots) | ({"plots"} if plots else set())


def files(artifacts: dict[str, Any]) -> set[str]:
    return {file for name in artifacts if name not in PAGES for file in FILES[name]}


def component(spec: dict[str, Any], step: str) -> dict[str, Any]:
    found: dict[str, Any] = spec["components"][f"comp-{step}"]
    return found


def test_the_steps_are_the_stages(spec: dict[str, Any]) -> None:
    assert {name for name, _ in package.list_tasks(spec)} == set(STAGES) | ONLY_KUBEFLOW


@pytest.mark.parametrize("step", STAGES)
def test_a_step_writes_what_its_stage_writes(step: str, spec: dict[str, Any]) -> None:
    made = component(spec, step)["outputDefinitions"]["artifacts"]
    assert files(made) == outputs(STAGES[step])


@pytest.mark.parametrize("step", STAGES)
def test_a_step_reads_what_its_stage_depends_on(step: str, spec: dict[str, Any]) -> None:
    """Artifacts by file; footage as data_rev; the champion as its pin; parameters by section."""
    made = set().union(*(outputs(stage) for stage in STAGES.values()))
    inputs = component(spec, step)["inputDefinitions"]
    wanted = gather(names(STAGES[step]["deps"]))
    parameters = set(inputs["parameters"])
    for_order_alone = {"metrics/validate.json"} if step in ("drift", "train") else set()
    assert files(inputs.get("artifacts", {})) == (wanted & made) - for_order_alone
    assert ("data_rev" in parameters) == ("data" in wanted)
    assert ("champion" in parameters) == ("champion.json" in wanted or step == "register")
    assert parameters & set(SECTIONS) == set(STAGES[step]["params"])


@pytest.mark.parametrize("step", ["drift", "train"])
def test_what_no_file_orders_waits_for_validation(step: str, spec: dict[str, Any]) -> None:
    tasks = spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    assert "validate" in tasks[step]["dependentTasks"]
    assert "fetch" in tasks["index"]["dependentTasks"]


def test_the_verdict_chooses_between_two_branches(spec: dict[str, Any]) -> None:
    graphs = [c["dag"]["tasks"] for c in spec["components"].values() if "dag" in c]
    conditions = {
        next(iter(spec["components"][task["componentRef"]["name"]]["dag"]["tasks"])): task[
            "triggerPolicy"
        ]["condition"]
        for tasks in graphs
        for task in tasks.values()
        if "condition" in task.get("triggerPolicy", {})
    }
    asked = "inputs.parameter_values['pipelinechannel--gate-passed'] == true"
    assert conditions == {"register": asked, "reject": f"!({asked})"}


def test_a_retraining_begins_where_drift_says_so(tmp_path: Path) -> None:
    example = environment.load(ROOT / "pipelines/environments/example.yaml")
    inputs = Inputs(REVISION, config.load(ROOT / "params.yaml"), Pin("tracker"), on_drift=True)
    out = package.compile_package(example, inputs, tmp_path / "pipeline.yaml")
    spec = package.read_documents(out.read_text())[0]
    tasks = spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    assert {"fetch", "index", "validate", "drift"} < set(tasks)
    assert not {"train", "gate"} & set(tasks)
    branches = json.dumps(spec["components"])
    assert "pipelinechannel--drift-Output'] == 'drift'" in branches
    assert {name for name, _ in package.list_tasks(spec)} == set(STAGES) | ONLY_KUBEFLOW | {"rest"}


def test_the_pipeline_s_parameters_are_params_yaml_s_sections(spec: dict[str, Any]) -> None:
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    assert set(parameters) == {*SECTIONS, "data_rev", "champion"}
    assert (
        parameters["train"]["defaultValue"]["epochs"]
        == config.load(ROOT / "params.yaml").train.epochs
    )
