"""An honest project on the demo's test sequences, ready to be sabotaged, and the score at the end."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from components import gate, index
from trackline import artifacts
from trackline.data.table import BOX
from trackline.evaluation import metrics, verdict

ROOT = Path(__file__).parents[2]
NAME = "tracker"
LIMITS = {  # the house's own thresholds (the defaults of config.Gate) and a ceiling of each kind
    "ceilings": {
        "latency_ms": 50,
        "size_mb": 20,
        "ece": 0.2,
        "centre_bias_px": 0.5,
        "quarantined": 0.02,
    },
    "champion_margin_shift_px": 0.5,
    "drift_blocks": "drift",
}
Predict = Callable[[pd.DataFrame], pd.DataFrame]


@dataclass
class Scene:
    """A project before its gate; whoever changes it plays the saboteur."""

    root: Path
    truth: pd.DataFrame
    classes: tuple[str, ...]

    def predict(self, seed: int = 0) -> pd.DataFrame:
        """What an honest tracker of AO 0.75 says, whose errors differ from training to training."""
        random, truth = np.random.default_rng(seed), self.truth
        names, places = np.unique(truth["sequence"], return_inverse=True)
        skill = np.random.default_rng(99).uniform(
            0.5, 1.6, len(names)
        )  # hard for one, hard for all
        sides = np.sqrt(truth[["w", "h"]].prod(axis=1).to_numpy())[:, None]
        noise = random.normal(0, 0.07, (len(truth), 2)) * skill[places, None] * sides
        guess = truth[["sequence", "frame", *BOX]].copy()
        guess[["x", "y"]] += noise
        guess[["w", "h"]] *= np.exp(random.normal(0, 0.08, (len(truth), 2)))
        right = truth["class"].to_numpy()[:, None] == np.array(self.classes)
        logits = 4.5 * right + random.normal(0, 1.2, right.shape)
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return self.name_classes(guess.assign(confidence=0.8), shares)

    def name_classes(self, guess: pd.DataFrame, shares: np.ndarray[Any, Any]) -> pd.DataFrame:
        """Add the columns of classes."""
        columns = {f"p_{name}": shares[:, i] for i, name in enumerate(self.classes)}
        return guess.assign(**columns, **{"class": np.array(self.classes)[shares.argmax(axis=1)]})

    def evaluate(self, predictions: pd.DataFrame, **changes: Any) -> None:
        """Leave what the evaluate step leaves of a model that predicts this, sealed as it does."""
        matched = metrics.match(self.truth, predictions)
        numbers = {
            **metrics.summarise(matched, self.classes),
            "ao_static": 0.22,
            "ao_wrong_template": 0.3,
            "latency_ms": 12.0,
            "size_mb": 7.7,
            "variant": "multitask",
            "weights_sha256": artifacts.sha256(self.root / "artifacts/model/model.safetensors"),
            "evaluation_data_sha256": "d1",
        }
        artifacts.write_table(self.root / "artifacts/predictions.parquet", matched)
        sealed = verdict.seal(numbers | changes)
        artifacts.write_json(self.root / "metrics/evaluate.json", sealed)

    def edit(self, name: str, **changes: Any) -> None:
        """Change a JSON file by hand, as an editor would."""
        path = self.root / name
        artifacts.write_json(path, artifacts.read_json(path) | changes)

    def rewrite(self, change: Predict) -> None:
        """Change the table of predictions by hand."""
        path = self.root / "artifacts/predictions.parquet"
        artifacts.write_table(path, change(pd.read_parquet(path)))

    def pack(self, weights: str = "weights") -> None:
        """Put a package in place that is legal wherever only its sums matter."""
        with artifacts.replacing_folder(self.root / "artifacts/model") as folder:
            (folder / "model.safetensors").write_text(weights)
            (folder / "model.yaml").write_text("format: 1\n")
            artifacts.write_json(folder / "lineage.json", {"git": {}, "data": {}})
            artifacts.write_sums(folder)

    def limit(self, **limits: Any) -> None:
        """Write params.yaml."""
        params = {"evaluate": {"bootstrap": 500}, "gate": LIMITS | limits}
        (self.root / "params.yaml").write_text(yaml.safe_dump(params))

    def judge(self) -> dict[str, Any]:
        """Run the gate; return its verdict."""
        assert gate.main([]) == 0
        return dict(artifacts.read_json(self.root / "metrics/gate.json"))

    def crown(self) -> None:
        """Pin what stands here as the champion, version 3."""
        folder = self.root / "registry/cache/3"
        shutil.copytree(self.root / "artifacts/model", folder / "model")
        (folder / "evaluation").mkdir()
        for file in ("artifacts/predictions.parquet", "metrics/gate.json"):
            shutil.copy(self.root / file, folder / "evaluation")
        self.pin(3, artifacts.verify(folder / "model"))

    def pin(self, version: int | None, sha256: str | None) -> None:
        """Write champion.json."""
        pin = {"name": NAME, "version": version, "sha256": sha256}
        artifacts.write_json(self.root / "champion.json", pin)


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The annotation table of the default data."""
    path = tmp_path_factory.mktemp("default") / "annotations.parquet"
    index.index(ROOT / "demo", path)
    return path


@pytest.fixture(scope="session")
def honest(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A champion, and a candidate of another training that awaits its gate; copied by each test."""
    rows = pd.read_parquet(table)
    truth = rows[rows["split"] == "test"].reset_index(drop=True)
    scene = Scene(tmp_path_factory.mktemp("honest"), truth, tuple(sorted(set(truth["class"]))))
    for name in ("artifacts", "metrics"):
        (scene.root / name).mkdir()
    shutil.copy(table, scene.root / "artifacts/annotations.parquet")
    rules = [{"unit": "frame", "count": 3}]
    content = {"passed": True, "rows": len(rows), "rules": rules}
    artifacts.write_json(scene.root / "metrics/validate.json", content)
    artifacts.write_json(scene.root / "metrics/drift.json", {"verdict": "none"})
    scene.pin(None, None)
    scene.limit()
    return scene


@pytest.fixture
def scene(honest: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A copy of the honest project as the working directory, its champion pinned."""
    root = tmp_path / "project"
    shutil.copytree(honest.root, root)
    monkeypatch.chdir(root)
    # the page needs seconds and decides nothing
    monkeypatch.setattr("components.gate.write_report", lambda *_: None)
    made = Scene(root, honest.truth, honest.classes)
    made.pack("the champion's")
    made.evaluate(made.predict(seed=0))
    made.judge()
    made.crown()
    made.pack()
    made.evaluate(made.predict(seed=1))
    return made


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """End with the score."""
    words = {"test_the_saboteur": "sabotages refused by the check meant for them"}
    words |= {"test_honest": "honest models accepted"}
    for start, what in words.items():
        found = {
            state: [
                report
                for report in terminalreporter.stats.get(state, [])
                if f"::{start}" in report.nodeid and "/sabotage/" in report.nodeid
            ]
            for state in ("passed", "failed")
        }
        total = len(found["passed"]) + len(found["failed"])
        if total:
            terminalreporter.write_line(f"{len(found['passed'])} of {total} {what}")
    _tell_spread(terminalreporter)


def _tell_spread(terminalreporter: Any) -> None:
    """What the seed of a training alone does: the numbers for gate.seed_sd_ao and _accuracy."""
    reached: dict[str, list[float]] = {}
    for state in ("passed", "failed"):
        for report in terminalreporter.stats.get(state, []):
            for name, value in getattr(report, "user_properties", []):
                if name in ("ao", "accuracy") and "/sabotage/" in report.nodeid:
                    reached.setdefault(name, []).append(value)
    for name, values in reached.items():
        if len(values) > 1:
            mean, sd = np.mean(values), np.std(values, ddof=1)
            terminalreporter.write_line(
                f"{name} over {len(values)} seeds: {mean:.3f}, standard deviation {sd:.4f}"
                f" (gate.seed_sd_{name})"
            )
