"""A project in which everything before the gate has run, small enough to judge in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trackline import artifacts


@dataclass(frozen=True)
class Project:
    """The working directory of a test; `name` is its own model in the registry all tests share."""

    root: Path
    name: str

    def evaluate(self, shift: float = 0.0, weights: str = "weights", sequences: int = 30) -> None:
        """Leave what train and evaluate leave, of a model with a mean overlap of 0.8 + shift."""
        self.pack(weights)
        table = self.predict(shift, sequences)
        artifacts.write_table(self.root / "artifacts/predictions.parquet", table)
        metrics = {
            "ao": table["iou"].mean(),
            "accuracy": 1.0,
            "sequence_accuracy": 1.0,
            "ao_static": 0.3,
            "ao_wrong_template": 0.4,
            "ao_csrt": None,
            "variant": "multitask",
            "weights_sha256": artifacts.sha256(self.root / "artifacts/model/model.safetensors"),
            "evaluation_data_sha256": f"{sequences:064}",
        }
        artifacts.write_json(self.root / "metrics/evaluate.json", metrics)

    def pack(self, weights: str) -> None:
        """Write a package that is legal wherever only its sums matter."""
        with artifacts.replacing_folder(self.root / "artifacts/model") as folder:
            (folder / "model.safetensors").write_text(weights)
            (folder / "model.yaml").write_text("format: 1\n")
            lineage = {"git": {"revision": "abc123"}, "data": {"dvc_md5": "0d", "other": None}}
            artifacts.write_json(folder / "lineage.json", lineage)
            artifacts.write_sums(folder)

    def predict(self, shift: float = 0.0, sequences: int = 30) -> pd.DataFrame:
        """Predictions of short sequences, all named rightly."""
        index = [(f"seq-{s:02}", f) for s in range(sequences) for f in range(4)]
        table = pd.DataFrame(index, columns=["sequence", "frame"])
        level = 0.8 + shift + np.random.default_rng(0).normal(0, 0.05, sequences)
        table["iou"] = np.where(table["frame"] == 0, np.nan, np.repeat(level, 4))
        table["label"] = np.where(table["sequence"].str[4:].astype(int) % 2, "box", "disc")
        table["class"] = table["label"]
        for name in ("box", "disc"):
            table[f"p_{name}"] = (table["label"] == name).astype(float)
        return table


@pytest.fixture(scope="session")
def registry_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the one registry of these tests is; making its tables takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('registry')}/mlflow.db"


@pytest.fixture
def project(tmp_path: Path, registry_uri: str, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with a good model that awaits its gate, as the working directory."""
    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry_uri)
    monkeypatch.chdir(tmp_path)
    made = Project(tmp_path, f"tracker-{tmp_path.name}")
    (tmp_path / "params.yaml").write_text(f"registry: {{name: {made.name}}}\n")
    artifacts.write_json(
        tmp_path / "champion.json", {"name": made.name, "version": None, "sha256": None}
    )
    artifacts.write_json(tmp_path / "metrics/validate.json", {"passed": True})
    artifacts.write_json(tmp_path / "metrics/drift.json", {"verdict": "no reference"})
    # the page needs footage, which this project has none of; tests/test_pipeline.py has the real one
    monkeypatch.setattr(
        "components.gate.write_report",
        lambda _params, _inputs, outputs, _evidence, judged: artifacts.write_json(
            outputs.report, judged
        ),
    )
    made.evaluate()
    return made
