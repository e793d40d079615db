"""What passes the gate, what does not, and what the verdict says about it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.evaluation.evidence import THRESHOLDS, annotate, box, check, predict, weigh
from trackline.config import Ceilings, Floors, Gate, SliceGates
from trackline.errors import EmptyDataError
from trackline.evaluation.comparison import Champion
from trackline.evaluation.gates import judge

ALWAYS = {
    "ao", "gain_over_static", "template_gain", "sequence_accuracy", "champion_ao",
    "champion_accuracy", "data_validated", "metrics_origin", "drift",
}  # fmt: skip


def test_a_good_first_model_is_accepted() -> None:
    judged = judge(weigh(), THRESHOLDS)
    assert judged["passed"] is True
    assert judged["verdict"] == "accepted"
    assert judged["comparison"] == "no champion"
    assert all(line["passed"] for line in judged["checks"])
    assert "no champion yet" in check(judged, "champion_ao")["why"]


def test_every_check_has_the_fields_of_the_contract() -> None:
    for line in judge(weigh(), THRESHOLDS)["checks"]:
        fields = {"name", "value", "threshold", "low", "high", "passed", "why", "at_most"}
        assert fields == line.keys()
        assert line["why"]


def test_the_overlap_carries_an_interval_over_sequences() -> None:
    line = check(judge(weigh(), THRESHOLDS), "ao")
    assert line["low"] < line["value"] < line["high"]
    # 30 sequences of sd 0.05: ± 1.96 × 0.05 / √30 = ± 0.018
    assert line["high"] - line["low"] == pytest.approx(0.036, rel=0.4)


@pytest.mark.parametrize(
    ("name", "metrics"),
    [
        ("gain_over_static", {"ao_static": 0.7}),
        ("template_gain", {"ao_wrong_template": 0.75}),
    ],
)
def test_a_gain_below_its_threshold_is_rejected_with_value_and_threshold(
    name: str, metrics: dict[str, float]
) -> None:
    judged = judge(weigh(metrics=metrics), THRESHOLDS)
    line = check(judged, name)
    assert judged["verdict"] == "rejected"
    assert not line["passed"]
    assert f"{line['value']:.3f}" in line["why"]
    assert f"gate.min_{name} = {line['threshold']:g}" in line["why"]
    assert [c["name"] for c in judged["checks"] if not c["passed"]] == [name]


def test_overlap_and_classes_have_floors() -> None:
    judged = judge(weigh(predict(shift=-0.4, wrong=6)), THRESHOLDS)
    assert not check(judged, "ao")["passed"]
    line = check(judged, "sequence_accuracy")
    assert not line["passed"]
    assert line["value"] == 0.8
    assert line["low"] == pytest.approx(0.6269, abs=1e-4)  # Wilson's, 24 of 30


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "0.9", True])
@pytest.mark.parametrize(
    ("metric", "gate"),
    [
        ("ao", "ao"),
        ("ao_static", "gain_over_static"),
        ("ao_wrong_template", "template_gain"),
        ("sequence_accuracy", "sequence_accuracy"),
    ],
)
def test_a_metric_that_is_missing_or_no_number_fails(metric: str, gate: str, value: object) -> None:
    line = check(judge(weigh(metrics={metric: value}), THRESHOLDS), gate)
    assert not line["passed"]
    assert f"{metric} is missing or not a number" in line["why"]


@pytest.mark.parametrize("validation", [{}, {"passed": False}, {"passed": "yes"}])
def test_data_that_did_not_pass_validation_fails(validation: dict[str, Any]) -> None:
    assert not check(judge(weigh(validation=validation), THRESHOLDS), "data_validated")["passed"]


@pytest.mark.parametrize("drift", [{}, {"verdict": "drift"}])
def test_drift_is_reported_and_does_not_block(drift: dict[str, Any]) -> None:
    judged = judge(weigh(drift=drift), THRESHOLDS)
    assert judged["passed"]
    assert judged["drift"] == drift.get("verdict")


@pytest.mark.parametrize(
    ("verdict", "blocks", "passed"),
    [
        ("drift", "drift", False),
        ("warn", "drift", True),
        ("warn", "warn", False),
        ("none", "warn", True),
        ("too few sequences", "warn", True),
        (None, "drift", False),
    ],
)
def test_drift_blocks_where_the_gate_says_so(
    verdict: str | None, blocks: Any, passed: bool
) -> None:
    judged = judge(weigh(drift={"verdict": verdict}), Gate(drift_blocks=blocks))
    assert check(judged, "drift")["passed"] is passed


def test_a_floor_of_any_metric_has_an_interval_over_sequences() -> None:
    table = predict()
    table.loc[table["sequence"] < "seq-09", "iou"] *= 0.5
    share = float((table["iou"].dropna() > 0.5).mean())
    measured = weigh(table, metrics={"sr50": share})
    line = check(judge(measured, Gate(floors=Floors(sr50=0.9))), "sr50")
    assert not line["passed"]
    assert line["low"] < line["value"] < line["high"]
    assert line["why"].endswith("below gate.floors.sr50 = 0.9")
    assert check(judge(measured, Gate(floors=Floors(sr50=0.6))), "sr50")["passed"]


@pytest.mark.parametrize(
    ("ceilings", "found", "passed"),
    [
        (Ceilings(latency_ms=20), {"latency_ms": 20.0}, True),
        (Ceilings(latency_ms=20), {"latency_ms": 20.1}, False),
        (Ceilings(size_mb=5), {"size_mb": 7.7}, False),
        (Ceilings(ece=0.1), {"ece": 0.2}, False),
        (Ceilings(ece=0.1), {"ece": None}, False),
        (Ceilings(failures_per_1000=3), {}, False),
    ],
)
def test_budgets_are_ceilings(ceilings: Ceilings, found: dict[str, Any], passed: bool) -> None:
    judged = judge(weigh(metrics=found), Gate(ceilings=ceilings))
    extra = {line["name"] for line in judged["checks"]} - ALWAYS
    line = check(judged, extra.pop())
    assert (line["passed"], line["at_most"]) == (passed, True)


@pytest.mark.parametrize(
    ("validation", "value"),
    [
        ({"quarantined_share": 0.2}, 0.2),
        ({"rows": 50, "rules": [{"unit": "frame", "count": 10}, {"unit": "sequence", "count": 3}]}, 0.2),
        ({}, None),
    ],
)  # fmt: skip
def test_quarantined_rows_have_a_ceiling(validation: dict[str, Any], value: float | None) -> None:
    given = weigh(validation={"passed": True, **validation})
    for ceiling, passed in ((0.2, value is not None), (0.19, False)):
        judged = judge(given, Gate(ceilings=Ceilings(quarantined=ceiling)))
        assert check(judged, "quarantined")["passed"] is passed
        assert check(judged, "quarantined")["value"] == value


def test_metrics_that_were_edited_are_not_believed() -> None:
    line = check(judge(weigh(sealed=False), THRESHOLDS), "metrics_origin")
    assert not line["passed"]
    assert "edited after the evaluation" in line["why"]


def test_predictions_must_be_whole_and_follow_from_their_boxes() -> None:
    truth = annotate()
    whole = box(predict(), truth)
    assert judge(weigh(whole, truth=truth), THRESHOLDS)["passed"]
    cut = judge(weigh(whole[whole["sequence"] != "seq-03"], truth=truth), THRESHOLDS)
    assert "6 of 180 annotated frames have no prediction" in check(cut, "predictions_whole")["why"]
    broken = whole.assign(x=whole["x"].where(whole["sequence"] != "seq-03"))
    nothing = check(judge(weigh(broken, truth=truth), THRESHOLDS), "predictions_whole")
    assert "6 boxes are not numbers, the first is of seq-03/0" in nothing["why"]
    better = whole.assign(iou=np.minimum(1, whole["iou"] + 0.1))
    edited = judge(weigh(better, truth=truth), THRESHOLDS)
    assert "do not follow from their boxes" in check(edited, "predictions_whole")["why"]


def test_a_slice_surely_below_its_floor_fails_and_is_named() -> None:
    truth, table = annotate(), predict()
    table.loc[table["sequence"] < "seq-10", "iou"] -= 0.3
    given = weigh(box(table, truth), truth=truth)
    limits = Gate(slices=SliceGates(min_ao=0.6))
    line = check(judge(given, limits), "slices_ao")
    assert not line["passed"]
    assert "below gate.slices.min_ao = 0.6: size small" in line["why"]
    few = judge(given, limits, min_slice_sequences=11)
    assert check(few, "slices_ao")["passed"]
    assert "1 of 4 slices have fewer than 11 sequences" in check(few, "slices_ao")["why"]


def test_a_plain_tracker_has_no_classes_to_gate() -> None:
    table = predict().drop(columns=["class", "p_box", "p_disc"])
    nothing = {"variant": "tracking", "accuracy": None, "sequence_accuracy": None}
    champion = Champion(3, predict())
    judged = judge(weigh(table, metrics=nothing, champion=champion), THRESHOLDS)
    assert judged["passed"]
    for name in ("sequence_accuracy", "champion_accuracy"):
        assert "does not apply" in check(judged, name)["why"]


def test_edited_metrics_contradict_the_predictions() -> None:
    line = check(
        judge(weigh(predict(shift=-0.4), metrics={"ao": 0.9}), THRESHOLDS), "metrics_origin"
    )
    assert not line["passed"]
    assert "the metrics say ao is 0.9000, the predictions give 0.39" in line["why"]


def test_metrics_of_other_weights_fail() -> None:
    line = check(judge(weigh(weights_sha256="b2"), THRESHOLDS), "metrics_origin")
    assert not line["passed"]
    assert "weights a1, the model has b2" in line["why"]


def test_without_a_scored_frame_there_is_no_verdict() -> None:
    with pytest.raises(EmptyDataError):
        judge(weigh(predict().assign(iou=np.nan)), THRESHOLDS)
