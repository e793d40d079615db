"""A project in which everything before the gate has run, small enough to judge in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trackline import artifacts
from trackline.data.table import COLUMNS
from trackline.evaluation import metrics, verdict


@dataclass(frozen=True)
class Project:
    """The working directory of a test; `name` is its own model in the registry all tests share."""

    root: Path
    name: str

    def evaluate(self, shift: float = 0.0, weights: str = "weights", sequences: int = 30) -> None:
        """Leave what index, train and evaluate leave, of a model with a mean overlap of 0.8 + shift."""
        self.pack(weights)
        artifacts.write_table(self.root / "artifacts/annotations.parquet", annotate(sequences))
        table = self.predict(shift, sequences)
        artifacts.write_table(self.root / "artifacts/predictions.parquet", table)
        numbers = {
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
        artifacts.write_json(self.root / "metrics/evaluate.json", verdict.seal(numbers))

    def pack(self, weights: str) -> None:
        """Write a package that is legal wherever only its sums matter."""
        with artifacts.replacing_folder(self.root / "artifacts/model") as folder:
            (folder / "model.safetensors").write_text(weights)
            (folder / "model.yaml").write_text("format: 1\n")
            lineage = {"git": {"revision": "abc123"}, "data": {"dvc_md5": "0d", "other": None}}
            artifacts.write_json(folder / "lineage.json", lineage)
            artifacts.write_sums(folder)

    def predict(self, shift: float = 0.0, sequences: int = 30) -> pd.DataFrame:
        """Predictions of short sequences, all named rightly: boxes as much too narrow as they overlap."""
        truth = annotate(sequences)
        level = 0.8 + shift + np.random.default_rng(0).normal(0, 0.05, sequences)
        guess = truth[["sequence", "frame", "x", "y", "w", "h", "class"]].assign(confidence=0.8)
        guess["w"] *= np.repeat(np.clip(level, 0, 1), 4)
        for name in ("box", "disc"):
            guess[f"p_{name}"] = (truth["class"] == name).astype(float)
        return metrics.match(truth, guess)


def annotate(sequences: int) -> pd.DataFrame:
    """The annotation table of so many targets that stand still for four frames."""
    index = [(f"seq-{s:02}", f) for s in range(sequences) for f in range(4)]
    table = pd.DataFrame(index, columns=["sequence", "frame"])
    odd = table["sequence"].str[4:].astype(int) % 2
    return table.assign(
        split="test", image="none.jpg", offset=-1, bytes=-1, width=160, height=120, x=10.0, y=20.0,
        w=40.0, h=30.0, visible=True, cover=1.0, source="none", line=1,
        dataset="set", stated_width=0, stated_height=0, stated_frames=0, footage_frames=4, amodal=False,
        **{"class": np.where(odd, "box", "disc")},
    ).astype(COLUMNS)[list(COLUMNS)]  # fmt: skip


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
    # there is no footage either; this hash is the one that `evaluate` leaves
    monkeypatch.setattr(
        "components.promote.hash_test_data",
        lambda _, tree: f"{pd.read_parquet(tree.annotations)['sequence'].nunique():064}",
    )
    made.evaluate()
    return made
