"""What passes the gate, what does not, and what the verdict says about it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trackline import artifacts
from trackline.config import Ceilings, Floors, Gate, SliceGates
from trackline.errors import DataError, EmptyDataError, GateRefused, PackageError
from trackline.evaluation import metrics, verdict
from trackline.evaluation.comparison import Champion
from trackline.evaluation.gates import Evidence, judge

THRESHOLDS = Gate()
ALWAYS = {
    "ao", "gain_over_static", "template_gain", "sequence_accuracy", "champion_ao",
    "champion_accuracy", "data_validated", "metrics_origin", "drift",
}  # fmt: skip
CLASSES = ("box", "disc")


def predict(shift: float = 0.0, wrong: int = 0, sequences: int = 30, seed: int = 0) -> pd.DataFrame:
    """Predictions with a mean overlap near 0.8 + shift, `wrong` sequences of them misnamed."""
    random = np.random.default_rng(seed)
    table = pd.DataFrame(
        [(f"seq-{s:02}", f) for s in range(sequences) for f in range(6)],
        columns=["sequence", "frame"],
    )
    number = table["sequence"].str[4:].astype(int)
    level = 0.8 + shift + np.repeat(random.normal(0, 0.05, sequences), 6)
    table["iou"] = np.where(table["frame"] == 0, np.nan, np.clip(level, 0, 1))
    table["label"] = np.where(number % 2, "box", "disc")
    other = np.where(number % 2, "disc", "box")
    table["class"] = np.where(number < wrong, other, table["label"])
    for name in CLASSES:
        table[f"p_{name}"] = np.where(table["class"] == name, 0.9, 0.1)
    return table


def weigh(predictions: pd.DataFrame | None = None, **changes: Any) -> Evidence:
    """Evidence of a good model, as the steps before the gate would leave it, with changes."""
    table = predict() if predictions is None else predictions
    scored = table[table["iou"].notna()]
    right = (scored["class"] == scored["label"]) if "class" in scored else np.array([np.nan])
    metrics = {
        "ao": scored["iou"].mean(),
        "accuracy": right.mean(),
        "sequence_accuracy": right.mean(),
        "ao_static": 0.3,
        "ao_wrong_template": 0.4,
        "variant": "multitask",
        "weights_sha256": "a1",
        "evaluation_data_sha256": "d1",
    }
    metrics |= changes.pop("metrics", {})
    evidence = Evidence(metrics, table, {"passed": True}, {"verdict": "none"}, "a1")
    return dataclasses.replace(evidence, **changes)


def check(judged: dict[str, Any], name: str) -> dict[str, Any]:
    """The line of a verdict about one gate."""
    return next(line for line in judged["checks"] if line["name"] == name)


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


def annotate(sequences: int = 30, small: int = 10) -> pd.DataFrame:
    """The truth behind `predict`: the first `small` targets are small ones."""
    table = predict(sequences=sequences)[["sequence", "frame", "label"]]
    number = table["sequence"].str[4:].astype(int)
    side = np.where(number < small, 20.0, 40.0)
    return table.rename(columns={"label": "class"}).assign(
        x=10.0, y=10.0, w=side, h=side, width=160, height=120, visible=True, cover=1.0
    )


def box(predictions: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """Give predictions boxes that overlap as much as they say."""
    level = predictions["iou"].fillna(1.0).to_numpy()
    guess = predictions.assign(
        x=10.0, y=10.0, w=truth["w"].to_numpy() * level, h=truth["h"].to_numpy()
    )
    return metrics.match(truth, guess)


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


def test_a_slice_that_lost_against_the_champion_fails_though_the_mean_did_not() -> None:
    truth, worse = annotate(small=8), predict(shift=0.03)
    worse.loc[worse["sequence"] < "seq-08", "iou"] -= 0.15
    champion = Champion(3, box(predict(), truth))
    judged = judge(weigh(box(worse, truth), truth=truth, champion=champion), THRESHOLDS)
    line = check(judged, "slices_champion")
    assert not line["passed"]
    assert "champion_margin_ao = 0.05 against champion 3: size small -0.12" in line["why"]
    same = judge(weigh(box(predict(), truth), truth=truth, champion=champion), THRESHOLDS)
    assert check(same, "slices_champion")["passed"]


def test_a_slice_that_may_have_lost_shows_that_its_interval_reaches_what_is_needed() -> None:
    truth, noisy = annotate(small=8), predict()
    lost = {f"seq-{i:02d}": 0.5 * (i % 2) for i in range(8)}
    noisy["iou"] -= noisy["sequence"].map(lost).fillna(0.0)
    champion = Champion(3, box(predict(), truth))
    judged = judge(weigh(box(noisy, truth), truth=truth, champion=champion), THRESHOLDS)
    line = check(judged, "slices_champion")
    assert line["passed"]
    assert line["value"] < line["threshold"] < line["high"]
    assert "size small fares worst, -0.2" in line["why"]


def test_seeds_of_training_widen_the_comparison() -> None:
    champion = Champion(3, predict())
    sure = judge(weigh(predict(shift=-0.1), champion=champion), THRESHOLDS)
    doubtful = judge(weigh(predict(shift=-0.1), champion=champion), Gate(seed_sd_ao=0.08))
    assert sure["comparison"] == "significantly worse"
    assert doubtful["comparison"] == "worse within noise"


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


@pytest.mark.parametrize(
    ("candidate", "phrase", "passed"),
    [
        (predict(shift=0.05), "better", True),
        (predict(), "no measurable change", True),
        (predict(shift=-0.01), "worse by less than the margin", True),
        (predict(shift=-0.1), "significantly worse", False),
        (predict(shift=-0.02, seed=1), "worse within noise", False),
    ],
)
def test_the_champion_is_met_on_the_same_sequences(
    candidate: pd.DataFrame, phrase: str, passed: bool
) -> None:
    judged = judge(weigh(candidate, champion=Champion(3, predict())), THRESHOLDS)
    line = check(judged, "champion_ao")
    assert judged["comparison"] == phrase
    assert line["passed"] is passed
    assert f"champion 3 by {line['value']:+.3f}" in line["why"]
    assert line["threshold"] == -THRESHOLDS.champion_margin_ao


def test_an_undecided_comparison_says_what_would_decide_it() -> None:
    judged = judge(weigh(predict(shift=-0.02, seed=1), champion=Champion(3, predict())), THRESHOLDS)
    resolution = judged["smallest_detectable_difference"]
    assert resolution > THRESHOLDS.champion_margin_ao
    assert (
        f"30 sequences reveal no difference below {resolution:.3f}"
        in (check(judged, "champion_ao")["why"])
    )


def test_losing_classes_to_the_champion_fails() -> None:
    judged = judge(weigh(predict(wrong=9), champion=Champion(3, predict())), THRESHOLDS)
    line = check(judged, "champion_accuracy")
    assert line["value"] == pytest.approx(-0.3)
    assert not line["passed"]
    assert "significantly worse" in line["why"]


def test_classes_are_compared_frame_by_frame_within_sequences() -> None:
    candidate = predict()
    candidate.loc[candidate["frame"] == 5, "class"] = "neither"  # one of five scored frames
    judged = judge(
        weigh(
            candidate,
            metrics={"accuracy": 0.8, "sequence_accuracy": 1.0},
            champion=Champion(3, predict()),
        ),
        THRESHOLDS,
    )
    assert check(judged, "champion_accuracy")["value"] == pytest.approx(-0.2)
    assert check(judged, "sequence_accuracy")["passed"]


def place(table: pd.DataFrame, seed: int, shift_px: float = 0.0) -> pd.DataFrame:
    """Boxes as two trainings place them: each sequence off by its own 2 px in both, by 0.7 px in one."""
    sequences = table["sequence"].nunique()
    shared, own = np.random.default_rng(9), np.random.default_rng(seed)
    each = shared.normal(0, 2, (sequences, 2)) + own.normal(0, 0.7, (sequences, 2))
    x, y = (np.repeat(each, 6, axis=0) + 50).T
    return table.assign(x=x + shift_px, y=y + shift_px, w=30.0, h=30.0)


PLACED = dataclasses.replace(THRESHOLDS, champion_margin_shift_px=0.5)


@pytest.mark.parametrize("seed", range(1, 21))
def test_boxes_of_another_training_are_not_surely_shifted(seed: int) -> None:
    champion = Champion(3, place(predict(), seed=0))
    judged = judge(weigh(place(predict(), seed), champion=champion), PLACED)
    assert check(judged, "champion_shift")["passed"]


@pytest.mark.parametrize("shift_px", [-1, 1])
@pytest.mark.parametrize("seed", range(1, 6))
def test_an_origin_that_is_off_by_one_shows_beside_the_champion(seed: int, shift_px: float) -> None:
    champion = Champion(3, place(predict(), seed=0))
    judged = judge(weigh(place(predict(), seed, shift_px), champion=champion), PLACED)
    line = check(judged, "champion_shift")
    assert not line["passed"]
    assert line["low"] > line["threshold"] == 0.5
    assert re.search(r"surely more along (x|y|x and y) than gate.champion_margin", line["why"])


def test_frames_that_only_one_follows_tell_nothing_of_a_shift() -> None:
    lost = place(predict(), 1).assign(iou=lambda t: t["iou"].where(t["iou"].isna(), 0.1))
    thresholds = dataclasses.replace(PLACED, min_ao=0.0)
    judged = judge(weigh(lost, champion=Champion(3, place(predict(), 0))), thresholds)
    line = check(judged, "champion_shift")
    assert not line["passed"]
    assert "no frame that both" in line["why"]


@pytest.mark.parametrize(
    "champion",
    [
        Champion(3, predict(sequences=29)),
        Champion(3, predict(sequences=31)),
        Champion(3, predict(), evaluation_data_sha256="d0"),
    ],
)
def test_a_champion_scored_on_other_frames_fails_with_the_remedy(champion: Champion) -> None:
    judged = judge(weigh(champion=champion), THRESHOLDS)
    line = check(judged, "champion_ao")
    assert judged["comparison"] == "not comparable"
    assert not line["passed"]
    assert "--champion-predictions" in line["why"]


def test_the_order_of_rows_does_not_matter() -> None:
    shuffled = predict().sample(frac=1, random_state=1)
    champion = Champion(3, predict(shift=0.02).sample(frac=1, random_state=2))
    assert judge(weigh(shuffled, champion=champion), THRESHOLDS) == judge(
        weigh(champion=Champion(3, predict(shift=0.02))), THRESHOLDS
    )


def test_without_a_scored_frame_there_is_no_verdict() -> None:
    with pytest.raises(EmptyDataError):
        judge(weigh(predict().assign(iou=np.nan)), THRESHOLDS)


@pytest.fixture
def judged(tmp_path: Path) -> verdict.Judged:
    """The files of an evaluated model."""
    files = verdict.Judged(tmp_path / "model", tmp_path / "e.json", tmp_path / "p.parquet")
    files.package.mkdir()
    (files.package / "model.safetensors").write_bytes(b"weights")
    artifacts.write_sums(files.package)
    artifacts.write_json(files.metrics, {"ao": 0.5, "evaluation_data_sha256": "d1"})
    artifacts.write_table(files.predictions, predict())
    return files


def seal(judged: verdict.Judged) -> Path:
    """Write a verdict about these files."""
    path = judged.metrics.with_name("gate.json")
    verdict.write(path, {"passed": True, "checks": []}, verdict.bind(judged, None, THRESHOLDS))
    return path


def test_a_verdict_holds_while_nothing_changes(judged: verdict.Judged) -> None:
    found = verdict.confirm(seal(judged), verdict.bind(judged, None, THRESHOLDS))
    assert found["passed"] is True
    assert set(found["bound"]) == set(verdict.BOUND)


def test_an_edited_verdict_is_found_out(judged: verdict.Judged) -> None:
    path = seal(judged)
    path.write_text(path.read_text().replace('"passed": true', '"passed": false'))
    with pytest.raises(GateRefused, match=r"gate\.json was edited"):
        verdict.confirm(path, verdict.bind(judged, None, THRESHOLDS))


def test_reformatting_a_verdict_is_no_edit(judged: verdict.Judged) -> None:
    path = seal(judged)
    path.write_text(path.read_text().replace("\n", ""))
    verdict.confirm(path, verdict.bind(judged, None, THRESHOLDS))


def test_each_thing_that_changed_is_named(judged: verdict.Judged) -> None:
    path = seal(judged)
    artifacts.write_json(judged.metrics, {"ao": 0.9, "evaluation_data_sha256": "d2"})
    artifacts.write_table(judged.predictions, predict(shift=0.1))
    now = verdict.bind(judged, "c0ffee", Gate(min_ao=0.4))
    with pytest.raises(GateRefused) as refusal:
        verdict.confirm(path, now)
    for name in ("metrics", "predictions", "test data", "champion", "thresholds"):
        assert name in str(refusal.value)
    for name in ("weights", "package", "code"):
        assert name not in str(refusal.value)


def test_only_the_named_bounds_are_compared(judged: verdict.Judged) -> None:
    now = verdict.bind(judged, "c0ffee", Gate(min_ao=0.4))
    verdict.confirm(seal(judged), now, verdict.OF_THE_MODEL)


def test_new_weights_change_the_bound_and_old_sums_are_refused(judged: verdict.Judged) -> None:
    before = verdict.bind(judged, None, THRESHOLDS)
    (judged.package / "model.safetensors").write_bytes(b"other")
    with pytest.raises(PackageError):
        verdict.bind(judged, None, THRESHOLDS)
    artifacts.write_sums(judged.package)
    after = verdict.bind(judged, None, THRESHOLDS)
    assert {k for k in before if before[k] != after[k]} == {"weights_sha256", "package_sha256"}


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_a_result_that_is_no_object_cannot_be_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError, match="run the step"):
        verdict.read(tmp_path / "x.json")


def test_a_refusal_names_every_failed_gate_and_the_report() -> None:
    judged = judge(weigh(predict(shift=-0.5), metrics={"ao_static": 0.3}), THRESHOLDS)
    with pytest.raises(GateRefused) as refusal:
        verdict.refuse_rejected(judged, Path("reports/index.html"))
    for line in judged["checks"]:
        assert (line["why"] in str(refusal.value)) is not line["passed"]
    assert "reports/index.html" in str(refusal.value)
