"""The protocols, frame by frame equal to the toolkits they are named after."""

from __future__ import annotations

import json
import typing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trackline import config
from trackline.evaluation import metrics
from trackline.evaluation.protocols import PROTOCOLS, Trajectory, gather, measure, score

SHARED = Path(__file__).parents[2].parent / "shared"
GOLDEN, PUBLISHED = SHARED / "golden/metrics", SHARED / "realdata/results/otb100"
FLOAT32 = 2e-6  # the analyses of pytracking and HIPTrack keep their curves in single precision
BOX = np.array([10.0, 20.0, 40.0, 30.0])


def follow(*shifts: float, visible: list[bool] | None = None) -> Trajectory:
    """A target that stands still, followed by boxes that lie `shifts` to the right of it."""
    truth = np.tile(BOX, (len(shifts), 1))
    guess = truth + np.outer(shifts, [1, 0, 0, 0])
    there = np.ones(len(shifts), bool) if visible is None else np.array(visible)
    return Trajectory(truth, guess, there, (160, 120))


def test_params_offer_exactly_the_protocols_there_are() -> None:
    assert set(typing.get_args(config.Protocol)) == set(PROTOCOLS)


def test_the_first_frame_is_left_out_or_counted_as_a_hit() -> None:
    lost = follow(1000, 1000)
    assert score(PROTOCOLS["got10k"], [lost]).op50 == 0
    assert score(PROTOCOLS["otb"], [lost]).op50 == 0.5


def test_an_absent_frame_is_left_out_or_a_miss_and_a_hit_at_once() -> None:
    lost = follow(0, 0, 0, 0, visible=[True, True, False, False])
    lost.truth_xywh[2:] = 0
    assert len(measure(PROTOCOLS["got10k"], lost).overlap) == 1  # type: ignore[union-attr]
    otb = score(PROTOCOLS["otb"], [lost])
    assert (otb.op50, otb.precision_score) == (0.5, 1)  # as Biker's published curves show
    assert score(PROTOCOLS["pytracking_otb"], [lost]).precision_score == 0.5


def test_trackingnet_leaves_out_sequences_with_an_absent_frame() -> None:
    assert measure(PROTOCOLS["trackingnet"], follow(0, 0, visible=[True, False])) is None
    assert np.isnan(score(PROTOCOLS["trackingnet"], [follow(0, visible=[False])]).auc)


def test_trackingnet_rounds_and_lets_a_threshold_be_met() -> None:
    half = Trajectory(
        np.tile(BOX, (2, 1)), np.array([BOX, [10.4, 20, 20, 30]]), np.ones(2), (160, 120)
    )
    assert score(PROTOCOLS["trackingnet"], [half]).op50 == 1
    assert score(PROTOCOLS["otb"], [half]).op50 == 0.5


def test_sequences_count_alike_or_by_their_frames() -> None:
    pair = [follow(*[0] * 10), follow(0, 1000)]
    assert score(PROTOCOLS["got10k"], pair).op50 == 0.9
    assert score(PROTOCOLS["otb"], pair).op50 == 0.75


def test_got10k_is_what_every_evaluation_reports() -> None:
    random = np.random.default_rng(0)
    rows = [(f"s{i}", f, *BOX + random.normal(0, 9, 4)) for i in range(3) for f in range(9)]
    guess = pd.DataFrame(rows, columns=["sequence", "frame", "x", "y", "w", "h"])
    truth = guess.assign(x=10.0, y=20.0, w=40.0, h=30.0, width=160, height=120, visible=True)
    truth = truth.assign(visible=truth["frame"] != 4, **{"class": "ball"})
    ours = metrics.summarise(metrics.match(truth, guess), ())
    theirs = score(PROTOCOLS["got10k"], gather(truth, guess)).tell()
    assert ours["sr50"] == pytest.approx(theirs["op50"], abs=1e-12)
    assert ours["success_auc"] == pytest.approx(theirs["auc"], abs=1e-12)
    assert ours["precision_20"] == pytest.approx(theirs["precision_score"], abs=1e-12)


@pytest.fixture(scope="module")
def golden() -> dict[str, Trajectory]:
    """Eight trajectories whose first prediction is wrong on purpose, by name."""
    if not GOLDEN.is_dir():
        pytest.skip(f"no golden metrics at {GOLDEN}: they are not part of this repository")
    with np.load(GOLDEN / "trajectories.npz") as arrays:
        names = sorted({key.split(".")[0] for key in arrays})
        kinds = ("gt", "pred", "visible", "resolution")
        parts = {n: [arrays[f"{n}.{kind}"] for kind in kinds] for n in names}
    return {n: Trajectory(a, b, v > 0, tuple(size)) for n, (a, b, v, size) in parts.items()}


def read(name: str) -> dict[str, Any]:
    return dict(json.loads((GOLDEN / f"{name}.json").read_text()))


@pytest.mark.parametrize("family", ["pytracking", "hiptrack"])
@pytest.mark.parametrize("flavour", ["otb", "got10k", "uav", "lasot", "lasot_valid"])
def test_the_analysis_of_pytracking_and_of_hiptrack(
    golden: dict[str, Trajectory], family: str, flavour: str
) -> None:
    theirs = read(f"{family}_analysis")[flavour.replace("valid", "exclude_invalid")]
    protocol = PROTOCOLS[f"{family}_{flavour}"]
    given = blank_annotations(golden) if flavour == "uav" else golden
    for name, expected in theirs["sequences"].items():
        ours = score(protocol, [given[name]])
        for curve in ("success", "precision", "norm_precision"):
            np.testing.assert_allclose(
                getattr(ours, curve), expected[f"{curve}_curve"], atol=FLOAT32, err_msg=name
            )
    ours, total = score(protocol, given.values()), theirs["overall"]
    assert 100 * ours.auc == pytest.approx(total["AUC"], abs=2e-4)
    assert 100 * ours.op75 == pytest.approx(total["OP75"], abs=2e-4)
    assert 100 * ours.precision_score == pytest.approx(total["Precision@20"], abs=2e-4)
    assert 100 * ours.norm_precision_score == pytest.approx(total["NormPrecision@0.20"], abs=2e-4)


def blank_annotations(golden: dict[str, Trajectory]) -> dict[str, Trajectory]:
    """UAV123 writes NaN where it has no box; its reference ran with four such rows in one sequence."""
    truth = golden["seq_03"].truth_xywh.copy()
    truth[5:9] = np.nan
    return golden | {"seq_03": golden["seq_03"]._replace(truth_xywh=truth)}


def test_the_got10k_toolkit(golden: dict[str, Trajectory]) -> None:
    theirs = read("got10k_toolkit")
    ours = score(PROTOCOLS["got10k"], golden.values())
    assert ours.mean_overlap == pytest.approx(theirs["overall"]["ao"], abs=1e-12)
    np.testing.assert_allclose(ours.success, theirs["overall"]["succ_curve_101"], atol=1e-12)
    for name, expected in theirs["sequences"].items():
        alone = score(PROTOCOLS["got10k"], [golden[name]])
        assert alone.mean_overlap == pytest.approx(expected["ao"], abs=1e-12)


def test_the_otb_and_lasot_experiments_of_the_got10k_toolkit(golden: dict[str, Trajectory]) -> None:
    theirs = read("got10k_master_otb_lasot")["lasot"]
    ours = score(PROTOCOLS["got10k_ope"], golden.values())
    np.testing.assert_allclose(ours.success, theirs["overall"]["success_curve"], atol=1e-12)
    np.testing.assert_allclose(ours.precision, theirs["overall"]["precision_curve"], atol=1e-12)
    np.testing.assert_allclose(
        ours.norm_precision, theirs["overall"]["normalized_precision_curve"], atol=1e-12
    )
    for name, expected in theirs["sequences"].items():
        alone = score(PROTOCOLS["got10k_ope"], [golden[name]])
        assert alone.auc == pytest.approx(expected["success_score"], abs=1e-12)
        assert alone.norm_precision_score == pytest.approx(
            expected["normalized_precision_score"], abs=1e-12
        )


def test_the_devkit_of_trackingnet(golden: dict[str, Trajectory]) -> None:
    theirs, protocol = read("trackingnet_devkit"), PROTOCOLS["trackingnet"]
    ours = score(protocol, golden.values())
    assert [n for n in golden if measure(protocol, golden[n])] == theirs["sequences_used"]
    assert 100 * ours.auc == pytest.approx(theirs["success_auc"], abs=1e-9)
    assert 100 * ours.precision_score == pytest.approx(theirs["precision_auc"], abs=1e-9)
    assert 100 * ours.norm_precision_score == pytest.approx(theirs["norm_precision_auc"], abs=1e-9)


@pytest.mark.parametrize(("tracker", "ties"), [("KCF", {"CarScale": 0.004}), ("Staple", {})])
def test_the_published_curves_of_two_trackers_on_otb_100(
    tracker: str, ties: dict[str, float]
) -> None:
    if not PUBLISHED.is_dir():
        pytest.skip(f"no published results at {PUBLISHED}: they are not part of this repository")
    theirs = json.loads((PUBLISHED / "expected.json").read_text())["trackers"][tracker]
    curves = {n: row for n, row in theirs["sequences"].items() if "success" in row}
    assert len(curves) == 92
    auc = []
    for name, expected in curves.items():
        ours = score(PROTOCOLS["otb"], [read_result(tracker, name)])
        gap = ties.get(name, 1e-6)  # an overlap that ties with a threshold
        np.testing.assert_allclose(ours.success, expected["success"], atol=gap, err_msg=name)
        np.testing.assert_allclose(ours.precision, expected["precision"], atol=1e-6, err_msg=name)
        auc.append(ours.auc)
    assert np.mean(auc) == pytest.approx({"KCF": 0.473717, "Staple": 0.583622}[tracker], abs=5e-6)


def read_result(tracker: str, name: str) -> Trajectory:
    truth, guess = (
        np.loadtxt(PUBLISHED / kind / f"{name}.txt", delimiter=",")
        for kind in ("groundtruth", tracker)
    )
    return Trajectory(truth, guess, np.ones(len(truth), bool))
