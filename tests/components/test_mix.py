"""The demo world and real sequences of four layouts, a video among them, from folders to a tracker."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pandas as pd
import pytest

import trackline
from components.drift import drift
from components.evaluate import Inputs as EvaluateInputs
from components.evaluate import Outputs as EvaluateOutputs
from components.evaluate import evaluate
from components.index import index
from components.train import Inputs, Outputs, train
from components.validate import validate
from trackline import artifacts, config
from trackline.data import table

REALDATA = Path(__file__).parents[3] / "shared/realdata"
REAL = (
    "otb", "davis/JPEGImages/480p/dog", "davis/Annotations/480p/dog", "got10k_style", "tld/03_pedestrian1"
)  # fmt: skip
CLASSES = {"otb/*": "thing", "davis/*": "dog", "got10k_style/*": "truck", "tld/*": "person"}


@pytest.mark.skipif(not REALDATA.is_dir(), reason=f"no real sequences at {REALDATA}")
def test_a_mix_of_real_and_drawn_footage_is_validated_learned_and_evaluated(
    world: Path, miniature: config.Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"
    shutil.copytree(world, data / "demo")
    for name in REAL:
        shutil.copytree(REALDATA / name, data / name)
    classes = (*miniature.data.classes, "thing", "dog", "truck")
    params = dataclasses.replace(
        miniature,
        data=config.Data(
            path=str(data), classes=classes, class_map=CLASSES, split=config.Shares(1, 0, 0)
        ),
        validate=dataclasses.replace(miniature.validate, quarantine=True),
        train=dataclasses.replace(
            miniature.train, mix=dict.fromkeys(("demo", "otb", "davis", "got10k_style", "tld"), 1.0)
        ),
    )
    annotations, profile = Path("artifacts/annotations.parquet"), Path("artifacts/profile.json")

    found = index(data, annotations, params.data)
    assert set(found.layouts.values()) == {"got10k", "otb", "davis", "tld"}
    assert not found.unlisted
    verdict = validate(
        annotations, data, params.validate, classes,
        Path("validate.json"), Path("validation.html"), annotations.with_name(table.QUARANTINE),
    )  # fmt: skip
    assert [f.rule.name for f in verdict.failed] == [
        "each image has an annotation"
    ]  # Football1's tail
    assert verdict.tell()["quarantined"] == 7
    drift(annotations, data, None, params.drift, profile, Path("drift.json"), Path("drift.html"))
    outputs = Outputs(Path("model"), Path("train.json"), Path("train.csv"), Path("checkpoint"))
    train(params, Inputs(annotations, profile), outputs)
    evaluated = EvaluateOutputs(Path("evaluate.json"), Path("predictions.parquet"), Path("plots"))
    evaluate(params, EvaluateInputs(outputs.model, annotations), evaluated)

    assert trackline.load(outputs.model).classes == classes
    assert len(artifacts.read_json(outputs.model / "profile.json")["features"]["class"]) == 27
    assert pd.read_csv(outputs.curves)["Loss/total"].notna().all()
    assert artifacts.read_json(evaluated.metrics)["sequences"] == 10
