"""The metrics, on boxes whose scores are known by hand and on the numbers of the public toolkits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trackline.errors import DataError, EmptyDataError
from trackline.evaluation import metrics

GOLDEN = Path(__file__).parents[2].parent / "shared/golden/metrics"
CLASSES = ("ball", "star")
BOX = (10.0, 20.0, 40.0, 30.0)


def annotate(frames: int = 4, sequence: str = "a", label: str = "ball") -> pd.DataFrame:
    x, y, w, h = BOX
    return pd.DataFrame(
        {
            "sequence": sequence,
            "frame": np.arange(frames, dtype=np.int32),
            "width": 160,
            "height": 120,
            "x": x,
            "y": y,
            "w": w,
            "h": h,
            "visible": True,
            "class": label,
        }
    )


def predict(truth: pd.DataFrame, ball: float = 0.9) -> pd.DataFrame:
    guess = truth[["sequence", "frame", "x", "y", "w", "h"]].copy()
    guess["confidence"] = 1.0
    guess["class"] = CLASSES[0] if ball >= 0.5 else CLASSES[1]
    return guess.assign(p_ball=ball, p_star=1 - ball)


def score(truth: pd.DataFrame, guess: pd.DataFrame) -> dict[str, float | int]:
    return metrics.summarise(metrics.match(truth, guess), CLASSES)


def test_the_truth_itself_scores_one() -> None:
    truth = annotate()
    result = score(truth, predict(truth))
    assert result["ao"] == result["sr75"] == result["mean_iou"] == result["accuracy"] == 1
    assert result["precision_20"] == result["norm_precision_auc"] == 1
    assert result["success_auc"] == pytest.approx(100 / 101)  # nothing is above a threshold of 1
    assert (result["sequences"], result["frames"]) == (1, 3)


def test_the_first_frame_is_given_and_does_not_count() -> None:
    truth = annotate()
    guess = predict(truth)
    guess.loc[0, ["x", "y"]] = 1000.0
    matched = metrics.match(truth, guess)
    assert matched["valid"].tolist() == [False, True, True, True]
    assert np.isnan(matched["iou"][0])
    assert metrics.summarise(matched, CLASSES)["ao"] == 1


def test_absent_frames_do_not_count() -> None:
    truth = annotate()
    truth.loc[2, "visible"] = False
    guess = predict(truth)
    guess.loc[2, "x"] = 1000.0
    assert score(truth, guess)["frames"] == 2
    assert score(truth, guess)["ao"] == 1


def test_an_overlap_of_exactly_a_half_is_no_success() -> None:
    truth = annotate(2)
    guess = predict(truth).assign(w=20.0)
    result = score(truth, guess)
    assert result["ao"] == 0.5
    assert result["sr50"] == 0


def test_a_width_has_no_extra_pixel() -> None:
    truth = annotate(2)
    shifted = predict(truth).assign(x=BOX[0] + BOX[2])  # the boxes share an edge and no area
    assert score(truth, shifted)["ao"] == 0


def test_twenty_pixels_are_precise_and_a_hair_more_is_not() -> None:
    truth = annotate(2)
    at, beyond = (predict(truth).assign(y=BOX[1] + far) for far in (20.0, 20.001))
    assert score(truth, at)["precision_20"] == 1
    assert score(truth, beyond)["precision_20"] == 0


def test_the_normalised_error_is_in_target_sizes() -> None:
    truth = annotate(2)
    guess = predict(truth).assign(x=BOX[0] + 0.3 * BOX[2], y=BOX[1] + 0.4 * BOX[3])
    matched = metrics.match(truth, guess)
    assert matched["norm_error"][1] == pytest.approx(0.5)


def test_ao_pools_frames_and_mean_iou_pools_sequences() -> None:
    long, short = annotate(10, "long"), annotate(2, "short")
    lost = predict(short).assign(x=1000.0)
    result = score(pd.concat([long, short]), pd.concat([predict(long), lost]))
    assert result["ao"] == 0.9
    assert result["mean_iou"] == 0.5


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_box_that_is_no_number_is_a_miss_and_not_a_gap(value: float) -> None:
    truth = annotate(3)
    guess = predict(truth)
    guess.loc[2, "w"] = value
    result = score(truth, guess)
    assert (result["ao"], result["frames"], result["precision_20"]) == (0.5, 2, 0.5)


def test_the_class_of_a_sequence_is_the_one_with_the_largest_mean_probability() -> None:
    truth = annotate(4)
    guess = predict(truth)
    guess["p_ball"], guess["class"] = [0.0, 0.4, 0.4, 0.9], ["star", "star", "star", "ball"]
    guess["p_star"] = 1 - guess["p_ball"]
    result = score(truth, guess)
    assert result["accuracy"] == pytest.approx(1 / 3)
    assert result["sequence_accuracy"] == 1


def test_accuracy_given_iou50_looks_only_where_the_box_is_right() -> None:
    truth = annotate(3)
    guess = predict(truth)
    guess.loc[2, "x"], guess.loc[2, "class"] = 1000.0, "star"
    result = score(truth, guess)
    assert (result["accuracy"], result["accuracy_given_iou50"]) == (0.5, 1)


def test_a_tracker_without_classes_has_no_accuracy() -> None:
    truth = annotate()
    guess = predict(truth).drop(columns=["class", "p_ball", "p_star"])
    matched = metrics.match(truth, guess)
    assert np.isnan(metrics.summarise(matched, CLASSES)["sequence_accuracy"])
    assert metrics.curves(matched)["confusion"].empty
    assert np.isnan(metrics.summarise_classes(matched)["accuracy"][0])


def test_without_classes_to_ask_for_only_boxes_are_scored() -> None:
    truth = annotate()
    result = metrics.summarise(metrics.match(truth, predict(truth)), ())
    assert result["ao"] == 1
    assert np.isnan(result["accuracy"])


def test_matching_again_changes_nothing() -> None:
    truth = annotate()
    once = metrics.match(truth, predict(truth))
    pd.testing.assert_frame_equal(metrics.match(truth, once), once)


def test_a_missing_prediction_is_named() -> None:
    truth = annotate()
    with pytest.raises(DataError, match=r"1 of 4 annotated frames .* a/2; evaluate again"):
        metrics.match(truth, predict(truth).drop(index=2))


def test_a_prediction_without_annotation_is_named() -> None:
    truth = annotate()
    with pytest.raises(DataError, match=r"1 predictions belong to no annotated frame.* a/3"):
        metrics.match(truth.drop(index=3), predict(truth))


def test_a_frame_predicted_twice_is_named() -> None:
    truth = annotate()
    guess = predict(truth)
    with pytest.raises(DataError, match="predictions list a/1 twice"):
        metrics.match(truth, pd.concat([guess, guess.loc[[1]]]))


def test_nothing_to_score_is_an_error() -> None:
    truth = annotate(1)
    with pytest.raises(EmptyDataError, match="no frame can be scored"):
        score(truth, predict(truth))


def test_unknown_classes_are_an_error() -> None:
    truth = annotate()
    matched = metrics.match(truth, predict(truth))
    with pytest.raises(DataError, match="lack the column p_fish"):
        metrics.summarise(matched, (*CLASSES, "fish"))


def test_the_tables_by_sequence_and_by_class_agree_with_the_summary() -> None:
    truth = pd.concat([annotate(3, "a"), annotate(3, "b", "star")])
    matched = metrics.match(truth, predict(truth))
    by_sequence = metrics.summarise_sequences(matched, CLASSES)
    assert by_sequence["predicted"].tolist() == ["ball", "ball"]
    assert metrics.summarise_classes(matched)["accuracy"].tolist() == [1, 0]
    assert metrics.summarise(matched, CLASSES)["sequence_accuracy"] == 0.5


def test_the_curves_are_what_the_scores_are_read_from() -> None:
    truth = annotate(3)
    guess = predict(truth)
    guess.loc[2, "x"] = BOX[0] + 15
    matched = metrics.match(truth, guess)
    tables, result = metrics.curves(matched), metrics.summarise(matched, CLASSES)
    assert len(tables["success"]) == 101
    assert tables["success"]["success"].mean() == result["success_auc"]
    assert tables["precision"].set_index("threshold_px")["precision"][20] == result["precision_20"]
    assert tables["precision"]["norm_precision"].mean() == result["norm_precision_auc"]
    assert tables["confusion"]["actual"].tolist() == ["ball", "ball"]


def test_a_box_and_its_class_must_be_right_at_once() -> None:
    truth = annotate(5)
    guess = predict(truth)
    guess.loc[[1, 2], "class"] = "star"
    guess.loc[[2, 3], "x"] = 1000.0
    assert score(truth, guess)["joint_accuracy"] == 0.25
    exactly_half = predict(annotate(2)).assign(w=20.0)
    assert score(annotate(2), exactly_half)["joint_accuracy"] == 1


def test_calibration_compares_what_was_said_with_what_was_right() -> None:
    truth = annotate(5)
    guess = predict(truth, ball=0.9)
    guess.loc[1, "class"] = "star"  # right in 3 of 4 frames, said with 0.9
    matched = metrics.match(truth, guess)
    table = metrics.reliability(matched, "class")
    assert table[["confidence", "right", "frames"]].to_numpy().tolist() == [[0.9, 0.75, 4]]
    assert metrics.summarise(matched, CLASSES)["ece"] == pytest.approx(0.15)
    assert metrics.summarise(matched, CLASSES)["box_ece"] == 0  # each box said 1.0 and is right


def test_calibration_weighs_bins_by_their_frames() -> None:
    truth = annotate(5)
    guess = predict(truth)
    guess["confidence"] = [1.0, 0.2, 0.9, 0.9, 0.9]
    guess.loc[1, "x"] = 1000.0
    error = score(truth, guess)["box_ece"]
    assert error == pytest.approx(0.25 * 0.2 + 0.75 * 0.1)


def test_a_shift_of_all_boxes_is_a_bias_and_jitter_is_none() -> None:
    truth = annotate(5)
    off = predict(truth)
    assert score(truth, off.assign(x=off["x"] + 1, y=off["y"] + 1))["centre_bias_px"] == (
        pytest.approx(2**0.5)
    )
    assert score(truth, off.assign(x=off["x"] + [0, 1, -1, 1, -1]))["centre_bias_px"] == 0


def test_a_failure_is_counted_once_however_long_it_lasts() -> None:
    truth = annotate(11)
    guess = predict(truth)
    guess.loc[[3, 4, 5, 8], "x"] = 1000.0
    result = score(truth, guess)
    assert result["failures_per_1000"] == 200  # two in ten frames
    assert result["time_to_failure"] == 0.2  # frames 1 and 2 of ten
    assert score(truth, predict(truth))["time_to_failure"] == 1


@pytest.fixture(scope="module")
def trajectories() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Truth and predictions of the golden set; the first prediction is wrong on purpose."""
    if not GOLDEN.is_dir():
        pytest.skip(f"no golden metrics at {GOLDEN}: they are not part of this repository")
    with np.load(GOLDEN / "trajectories.npz") as arrays:
        names = sorted({key.split(".")[0] for key in arrays})
        tables = [{kind: arrays[f"{n}.{kind}"] for kind in KINDS} for n in names]
    truth = [as_table(n, t["gt"], t) for n, t in zip(names, tables, strict=True)]
    guess = [as_table(n, t["pred"], t) for n, t in zip(names, tables, strict=True)]
    return pd.concat(truth), pd.concat(guess)[["sequence", "frame", "x", "y", "w", "h"]]


KINDS = ("gt", "pred", "cover", "resolution")


def as_table(name: str, boxes: np.ndarray[Any, Any], arrays: dict[str, Any]) -> pd.DataFrame:
    table = pd.DataFrame(boxes, columns=["x", "y", "w", "h"])
    width, height = arrays["resolution"]
    return table.assign(
        sequence=name,
        frame=np.arange(len(boxes)),
        width=width,
        height=height,
        visible=arrays["cover"] > 0,
        **{"class": "ball"},
    )


def test_ao_and_success_are_the_got10k_toolkits(
    trajectories: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    golden = json.loads((GOLDEN / "got10k_toolkit.json").read_text())["overall"]
    matched = metrics.match(*trajectories)
    result = metrics.summarise(matched, CLASSES)
    for name in ("ao", "sr50", "sr75"):
        assert result[name] == pytest.approx(golden[name], abs=1e-12)
    success = metrics.curves(matched)["success"]["success"]
    np.testing.assert_allclose(success, golden["succ_curve_101"], atol=1e-12)


def test_every_overlap_is_the_got10k_toolkits(
    trajectories: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    golden = json.loads((GOLDEN / "got10k_toolkit.json").read_text())["sequences"]
    matched = metrics.match(*trajectories)
    means = matched.groupby("sequence")["iou"].mean()
    for name, row in golden.items():
        assert means[name] == pytest.approx(row["ao"], abs=1e-12), name


def test_precision_is_that_of_otb_and_lasot(
    trajectories: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    golden = json.loads((GOLDEN / "got10k_master_otb_lasot.json").read_text())["lasot"]["sequences"]
    matched = metrics.match(*trajectories)
    seen = matched.groupby("sequence").filter(lambda rows: rows["valid"][1:].all())
    assert seen["sequence"].nunique() >= 4
    for name, rows in seen.groupby("sequence"):
        ours, frames = metrics.summarise(rows, CLASSES), len(rows)
        # those protocols count the first frame, as a hit
        precision = (ours["precision_20"] * (frames - 1) + 1) / frames
        norm = (ours["norm_precision_auc"] * (frames - 1) + 1) / frames
        theirs = golden[str(name)]
        assert precision == pytest.approx(theirs["precision_score"], abs=1e-12)
        assert norm == pytest.approx(theirs["normalized_precision_score"], abs=1e-12)
