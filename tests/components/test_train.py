"""The train and evaluate steps, on a miniature, with the contracts between the steps."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import trackline
from components.evaluate import Inputs as EvaluateInputs
from components.evaluate import Outputs as EvaluateOutputs
from components.evaluate import evaluate, swap_templates
from components.train import Inputs, Outputs, train
from components.train import main as train_main
from trackline import artifacts, config
from trackline.data import profile, table
from trackline.errors import CorruptImageError, DataError, EmptyDataError, MissingFrameError
from trackline.models.embedding import embed


@dataclasses.dataclass(frozen=True)
class Run:
    root: Path
    outputs: Outputs
    evaluated: EvaluateOutputs
    metrics: dict[str, float]


def place_outputs(root: Path) -> Outputs:
    return Outputs(root / "model", root / "train.json", root / "train.csv", root / "checkpoint")


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory, annotations: Path, miniature: config.Params
) -> Run:
    root = tmp_path_factory.mktemp("run")
    rows = table.read_used(annotations)
    known = profile.describe(rows, Path(miniature.data.path), "train", config.Drift())
    known.write(root / "profile.json")
    outputs = place_outputs(root)
    train(miniature, Inputs(annotations, root / "profile.json"), outputs)
    evaluated = EvaluateOutputs(
        root / "evaluate.json", root / "predictions.parquet", root / "plots"
    )
    metrics = evaluate(miniature, EvaluateInputs(outputs.model, annotations), evaluated)
    return Run(root, outputs, evaluated, metrics)


def test_the_package_loads_and_carries_the_profile_with_what_its_network_sees(
    run: Run, annotations: Path, miniature: config.Params
) -> None:
    model = trackline.load(run.outputs.model)
    assert model.classes == miniature.data.classes
    given, packed = (
        profile.read(p / "profile.json") for p in (run.outputs.model.parent, run.outputs.model)
    )
    pd.testing.assert_frame_equal(packed.features, given.features)
    seen = embed(model.network, table.read(annotations), Path(miniature.data.path), "train")
    assert packed.embedding.shape == (20, profile.DIRECTIONS)
    np.testing.assert_allclose(packed.embedding, seen, rtol=1e-3, atol=1e-4)


def test_a_profile_that_cannot_be_read_is_told_before_training(
    tmp_path: Path, annotations: Path, miniature: config.Params
) -> None:
    (tmp_path / "profile.json").write_text("{}")
    with pytest.raises(DataError, match="is not a profile"):
        train(miniature, Inputs(annotations, tmp_path / "profile.json"), place_outputs(tmp_path))
    assert not (tmp_path / "checkpoint").exists()


def test_there_is_a_row_an_epoch_and_no_checkpoint_left(run: Run) -> None:
    rows = pd.read_csv(run.outputs.curves)
    assert rows["epoch"].tolist() == [1, 2]
    assert not run.outputs.checkpoint.exists()
    assert artifacts.read_json(run.outputs.metrics)["parameters"] > 0


def test_the_metrics_are_the_contract_s(run: Run) -> None:
    written = artifacts.read_json(run.evaluated.metrics)
    for name in (
        "ao", "sr50", "sr75", "success_auc", "precision_20", "norm_precision_auc", "mean_iou",
        "accuracy", "sequence_accuracy", "accuracy_given_iou50", "sequences", "frames", "fps",
        "ao_static", "ao_wrong_template", "colour_accuracy", "shape_accuracy",
    ):  # fmt: skip
        assert isinstance(written[name], float | int) or name == "accuracy_given_iou50"
    assert written["sequences"] == 10
    weights = artifacts.sha256(run.outputs.model / "model.safetensors")
    assert written["weights_sha256"] == weights


def test_the_predictions_cover_every_frame_with_what_gates_need(
    run: Run, annotations: Path
) -> None:
    predictions = pd.read_parquet(run.evaluated.predictions)
    truth = table.read(annotations)
    assert len(predictions) == (truth["split"] == "test").sum()
    assert {"sequence", "frame", "iou", "label", "class", "p_car", "confidence"} <= set(predictions)
    assert predictions.loc[predictions["frame"] == 0, "iou"].isna().all()
    assert run.metrics["ao"] == pytest.approx(predictions["iou"].mean())


def test_the_plots_are_tables(run: Run) -> None:
    assert {p.name for p in run.evaluated.plots.iterdir()} == {
        "success.csv", "precision.csv", "confusion.csv", "reliability.csv", "slices.csv",
    }  # fmt: skip


def test_training_again_gives_the_same_weights(
    run: Run, tmp_path: Path, annotations: Path, miniature: config.Params
) -> None:
    outputs = place_outputs(tmp_path)
    train(miniature, Inputs(annotations, tmp_path / "none"), outputs)
    first, second = (o.model / "model.safetensors" for o in (run.outputs, outputs))
    assert artifacts.sha256(first) == artifacts.sha256(second)


def test_other_evaluation_data_has_another_hash(
    run: Run, tmp_path: Path, annotations: Path, miniature: config.Params
) -> None:
    rows = table.read(annotations)
    rows.loc[rows["split"] == "test", "x"] += 0.25
    artifacts.write_table(tmp_path / "moved.parquet", rows)
    outputs = EvaluateOutputs(tmp_path / "e.json", tmp_path / "p.parquet", tmp_path / "plots")
    moved = evaluate(
        miniature, EvaluateInputs(run.outputs.model, tmp_path / "moved.parquet"), outputs
    )
    assert moved["evaluation_data_sha256"] != run.metrics["evaluation_data_sha256"]
    assert moved["weights_sha256"] == run.metrics["weights_sha256"]


def test_swapped_templates_are_of_another_class(annotations: Path) -> None:
    sequences = list(table.iterate(table.read(annotations), "test"))
    swapped = swap_templates(sequences)
    assert swapped.keys() == {s.name for s in sequences}
    assert all(swapped[s.name].label != s.label for s in sequences)


def test_a_table_without_training_sequences_is_refused(
    tmp_path: Path, annotations: Path, miniature: config.Params
) -> None:
    rows = table.read(annotations)
    artifacts.write_table(tmp_path / "t.parquet", rows[rows["split"] == "test"])
    with pytest.raises(EmptyDataError, match="no sequence in split train"):
        train(miniature, Inputs(tmp_path / "t.parquet", tmp_path), place_outputs(tmp_path))


@pytest.mark.parametrize(
    ("data", "error"), [(b"", MissingFrameError), (b"not a picture", CorruptImageError)]
)
def test_an_image_that_vanished_after_validation_is_named_and_earlier_results_stay(
    tmp_path: Path, annotations: Path, miniature: config.Params, data: bytes, error: type[Exception]
) -> None:
    """Loose files, the first image of each sequence missing or damaged."""
    rows = table.read(annotations)
    rows = rows[rows["split"] == "train"].copy()
    rows["image"], rows["offset"] = [f"{i}.jpg" for i in range(len(rows))], -1
    for i in range(len(rows)) if data else ():
        (tmp_path / f"{i}.jpg").write_bytes(data)
    artifacts.write_table(tmp_path / "t.parquet", rows)
    params = dataclasses.replace(
        miniature, data=dataclasses.replace(miniature.data, path=str(tmp_path))
    )
    outputs = place_outputs(tmp_path)
    artifacts.write_json(outputs.metrics, {"earlier": 1})
    with pytest.raises(error, match=r"\d+\.jpg"):
        train(params, Inputs(tmp_path / "t.parquet", tmp_path / "none"), outputs)
    assert json.loads(outputs.metrics.read_text()) == {"earlier": 1}


def test_a_params_typo_has_its_own_exit_code_and_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "params.yaml").write_text("train: {epoch: 3}")
    assert train_main(["--params", str(tmp_path / "params.yaml")]) == 3
    error = capsys.readouterr().err
    assert error == "error: params.yaml: unknown key 'train.epoch'; did you mean 'epochs'?\n"


def test_confidence_and_probabilities_are_finite(run: Run) -> None:
    predictions = pd.read_parquet(run.evaluated.predictions)
    numbers = predictions[["x", "y", "w", "h", "confidence", "p_car"]].to_numpy()
    assert np.isfinite(numbers).all()
