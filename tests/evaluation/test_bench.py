"""`trackline evaluate`: any layout, any model, and nothing done twice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from trackline import config
from trackline.cli import main
from trackline.evaluation import bench
from trackline.models import package
from trackline.models.network import Network
from trackline.tracking.tracker import Tracker


@pytest.fixture(scope="module")
def model(miniature: config.Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained package: what it says is worthless, and the same each time."""
    torch.manual_seed(0)
    classes = miniature.data.classes
    made = package.Package(Network(miniature.model, len(classes)), classes, config.Track(), {})
    folder = tmp_path_factory.mktemp("package") / "model"
    package.save(folder, made, "untrained")
    return folder


def test_a_data_set_is_scored_beside_the_static_box(
    model: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["evaluate", str(model), str(world), "--split", "test", "--out", str(tmp_path)]
    assert main([*line, "--protocol", "otb"]) == 0
    told = capsys.readouterr().out
    numbers = json.loads((tmp_path / "metrics.json").read_text())
    assert numbers["sequences"] == 10
    assert 0 <= numbers["ao"] <= 1
    assert numbers["ao_static"] > 0
    assert set(numbers["protocols"]) == {"otb"}
    assert "all frames, pooled" in told
    assert "synth_test_000000" in told
    rows = pd.read_parquet(tmp_path / "predictions.parquet")
    assert rows["sequence"].nunique() == 10


def test_a_killed_run_goes_on_where_it_stood(
    model: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, loaded = bench.index(world, config.Data()), package.load(model)
    table = table[table["split"] == "test"]
    whole = bench.evaluate(loaded, table, world, tmp_path / "whole", slots=3)
    honest, steps = Tracker.step, [0]

    def die(self: Tracker, *given: object) -> object:
        steps[0] += 1
        if steps[0] == 12:
            raise KeyboardInterrupt
        return honest(self, *given)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "step", die)
        with pytest.raises(KeyboardInterrupt):
            bench.evaluate(loaded, table, world, tmp_path / "killed", slots=3)
    done = len(list((tmp_path / "killed/parts").glob("*.parquet")))
    assert 0 < done < 10
    steps[0] = 100
    again = bench.evaluate(loaded, table, world, tmp_path / "killed", slots=3)
    assert again.total["ao"] == pytest.approx(whole.total["ao"], abs=1e-4)
    assert len(list((tmp_path / "killed/parts").glob("*.parquet"))) == 10


def test_other_weights_start_anew(model: Path, world: Path, tmp_path: Path) -> None:
    table, loaded = bench.index(world, config.Data()), package.load(model)
    table = table[(table["split"] == "test") & table["sequence"].str.endswith(("00", "01"))]
    bench.evaluate(loaded, table, world, tmp_path)
    done = len(list((tmp_path / "parts").iterdir()))
    with torch.no_grad():
        next(loaded.network.box_head.parameters()).add_(0.1)
    bench.evaluate(loaded, table, world, tmp_path)
    assert len(list((tmp_path / "parts").iterdir())) == 2 * done


def test_a_sequence_without_a_first_box_is_left_out_and_named(
    model: Path, world: Path, tmp_path: Path
) -> None:
    table = bench.index(world, config.Data())
    table = table[table["split"] == "test"]
    name = str(table["sequence"].iloc[0])
    start = (table["sequence"] == name) & (table["frame"] == 0)
    table = table.assign(x=np.where(start, np.nan, table["x"]))
    outcome = bench.evaluate(package.load(model), table, world, tmp_path)
    assert outcome.left_out == {name: "its first frame has no box"}
    assert outcome.total["sequences"] == 9


def test_classes_that_the_model_does_not_know_are_not_scored(
    model: Path, world: Path, tmp_path: Path
) -> None:
    table = bench.index(world, config.Data()).assign(**{"class": "unicorn"})
    outcome = bench.evaluate(package.load(model), table[table["split"] == "test"], world, tmp_path)
    assert np.isnan(outcome.total["accuracy"])
