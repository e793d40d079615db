"""dvc.yaml and the components say the same: steps, inputs, outputs, parameters."""

from __future__ import annotations

import importlib
import inspect
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from trackline.config import Params

ROOT = Path(__file__).parents[1]
STAGES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
WRITES = {
    "index": {"artifacts/annotations.parquet"},
    "validate": {
        "metrics/validate.json", "reports/validation.html", "artifacts/quarantine.parquet",
    },
    "drift": {"metrics/drift.json", "reports/drift.html", "artifacts/profile.json"},
    "train": {"artifacts/model", "metrics/train.json", "plots/train.csv"},
    "evaluate": {
        "metrics/evaluate.json", "artifacts/predictions.parquet", "plots/success.csv",
        "plots/precision.csv", "plots/confusion.csv", "plots/reliability.csv", "plots/slices.csv",
    },
    "gate": {"metrics/gate.json", "reports/index.html", "reports/summary.md"},
    "register": {"metrics/register.json"},
}  # fmt: skip


def names(entries: list[Any]) -> set[str]:
    return {next(iter(e)) if isinstance(e, dict) else e for e in entries}


def outputs(stage: dict[str, Any]) -> set[str]:
    return names([*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])])


def test_the_stages_are_the_design_s_and_write_its_files() -> None:
    assert list(STAGES) == list(WRITES)
    assert {name: outputs(stage) for name, stage in STAGES.items()} == WRITES


@pytest.mark.parametrize("step", STAGES)
def test_a_stage_calls_its_component_with_no_arguments(step: str) -> None:
    assert STAGES[step]["cmd"] == f"python -m components.{step}"


@pytest.mark.parametrize("step", STAGES)
def test_a_component_s_default_paths_are_the_stage_s(step: str) -> None:
    """Every path a component knows is a dependency, an output, the checkpoint or the report's name."""
    source = inspect.getsource(importlib.import_module(f"components.{step}"))
    stage = STAGES[step]
    known = (
        names(stage["deps"])
        | outputs(stage)
        | {"artifacts/checkpoint.safetensors", "reports/index.html"}
    )
    found = set(re.findall(r'"((?:artifacts|metrics|reports|plots)/[\w./-]+)"', source))
    assert found <= known


@pytest.mark.parametrize("step", STAGES)
def test_a_stage_depends_on_existing_code_and_known_parameters(step: str) -> None:
    stage = STAGES[step]
    made = set().union(*(outputs(s) for s in STAGES.values())) | {"data"}
    for dependency in names(stage["deps"]) - made:
        assert (ROOT / dependency).exists(), dependency
    assert f"components/{step}.py" in stage["deps"]
    assert set(stage["params"]) <= {f.name for f in fields(Params)}


@pytest.mark.parametrize("step", STAGES)
def test_what_a_component_reads_of_params_is_declared(step: str) -> None:
    source = inspect.getsource(importlib.import_module(f"components.{step}"))
    used = set(re.findall(r"params\.(\w+)", source)) & {f.name for f in fields(Params)}
    assert used <= set(STAGES[step]["params"])


@pytest.mark.parametrize("step", STAGES)
def test_a_failing_step_keeps_what_stood_there(step: str) -> None:
    """DVC removes outputs before a stage runs unless they persist."""
    stage = STAGES[step]
    for entry in [*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])]:
        assert entry[next(iter(entry))]["persist"] is True
