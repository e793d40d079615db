"""The report: one file that says the verdict first, shows real frames and loads nothing."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from tests.evaluation.conftest import BOX, CHECKS, perturb
from trackline.data.frames import decode, read_bytes
from trackline.evaluation import metrics, report, strips
from trackline.evaluation.report import Inputs

MISSED: dict[str, Any] = {
    "name": "sequence_accuracy",
    "value": 0.6,
    "threshold": 0.9,
    "low": 0.4,
    "high": 0.8,
    "passed": False,
    "why": "0.600 is below the 0.9 of gate.min_sequence_accuracy",
}


@pytest.fixture(scope="module")
def inputs(report_inputs: Inputs) -> Inputs:
    return report_inputs


def write(folder: Path, inputs: Inputs) -> str:
    out = folder / "reports/index.html"
    report.write_report(out, inputs)
    return out.read_text(encoding="utf-8")


def read_data(page: str, name: str) -> Any:
    """Parse the JSON that the page's scripts read; NaN would not be JSON."""
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.S)
    assert found
    return json.loads(found[1], parse_constant=pytest.fail)


@pytest.fixture(scope="module")
def page(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("report"), inputs)


def test_the_page_is_one_small_file_that_loads_nothing(page: str) -> None:
    assert len(page.encode()) < 8e6
    markup = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    addresses = re.findall(r'(?:src|href|action)="([^"]*)"', markup)
    assert {a for a in addresses if not a.startswith(("data:image/", "#"))} == {
        "validation.html",
        "drift.html",
    }
    assert not re.search(r"<link|<iframe|@import|url\(", markup)


def test_the_verdict_comes_first(page: str) -> None:
    verdict, gates = page.index("Accepted</h1>"), page.index('id="gates"')
    assert verdict < gates < page.index('id="sequences"')
    assert "All 2 gates passed" in page
    assert "There is no champion yet" in page


def test_a_rejection_names_the_gates_that_failed(inputs: Inputs, tmp_path: Path) -> None:
    gate = {**inputs.gate, "passed": False, "verdict": "rejected", "checks": [*CHECKS, MISSED]}
    page = write(tmp_path, dataclasses.replace(inputs, gate=gate))
    opening = page[: page.index('id="gates"')]
    assert "Rejected</h1>" in opening
    assert "1 of 3 gates failed" in opening
    assert MISSED["why"] in opening
    assert CHECKS[0]["why"] not in opening


def test_intervals_are_drawn_and_read_aloud(page: str) -> None:
    assert 'aria-label="0.710, interval 0.650 to 0.770, needs 0.500"' in page
    assert page.count('class="zone"') == 1  # a gate without numbers draws nothing


def test_baselines_without_a_number_are_left_out(page: str) -> None:
    assert "Static box" in page
    assert "CSRT" not in page
    assert "a guess among 10 classes" in page


def test_six_sequences_run_from_best_to_worst(page: str, inputs: Inputs) -> None:
    shown = read_data(page, "strips-data")
    order = metrics.summarise_sequences(inputs.matched, inputs.classes).sort_values("mean_iou")
    assert len(shown) == 6
    assert shown[0]["sequence"] == order["sequence"].iloc[-1]
    assert shown[-1]["sequence"] == order["sequence"].iloc[0]
    assert [s["note"] for s in shown if s["note"]] == ["best", "median", "worst"]
    assert len({s["label"] for s in shown}) == 6


def test_frames_are_the_original_bytes_with_both_boxes(page: str, inputs: Inputs) -> None:
    strip = read_data(page, "strips-data")[0]
    rows = inputs.truth[inputs.truth["sequence"] == strip["sequence"]].sort_values("frame")
    row, frame = rows.iloc[3], strip["frames"][3]
    data = read_bytes(inputs.root, row["image"], int(row["offset"]), int(row["bytes"]))
    assert base64.b64decode(frame["image"].partition(",")[2]) == data
    assert frame["number"] == 3
    assert frame["truth"] == pytest.approx(row[BOX].tolist(), abs=0.01)
    assert frame["predicted"] in inputs.classes
    assert strip["frames"][0]["predicted"] is None  # nothing was asked about the first frame


def test_players_are_within_reach_of_keys_and_of_ears(page: str) -> None:
    assert len(re.findall(r'<button type="button" aria-label="Play [^"]+">', page)) == 6
    assert len(re.findall(r'<input type="range" [^>]*aria-label="Frame of [^"]+">', page)) == 6
    assert all(re.findall(r'<img [^>]*alt="([^"]*)"', page))


def test_charts_take_their_colours_from_the_page(page: str) -> None:
    charts = read_data(page, "charts-data")
    assert set(charts) == {
        "success", "precision", "slices", "reliability", "classes", "confusion", "losses", "learning",
    }  # fmt: skip
    text = json.dumps(charts)
    assert not re.search(r"#[0-9a-fA-F]{3,8}\b", text)
    for name in set(re.findall(r"var\((--\w+)\)", text)):
        assert f"{name}:" in page, f"{name} is not a colour of the page"


def test_the_curves_are_those_of_the_model_and_of_the_static_box(page: str, inputs: Inputs) -> None:
    model, static = read_data(page, "charts-data")["success"]["data"]
    curve = metrics.curves(inputs.matched)["success"]["success"]
    assert model["y"] == pytest.approx(curve.tolist(), abs=1e-4)
    assert static["name"].startswith("static box")


def test_a_baseline_that_did_not_run_is_not_drawn(inputs: Inputs, tmp_path: Path) -> None:
    success, precision = inputs.baselines
    csrt = success.assign(csrt=0.5)
    page = write(tmp_path, dataclasses.replace(inputs, baselines=(csrt, precision)))
    charts = read_data(page, "charts-data")
    assert [line["name"] for line in charts["success"]["data"]][1:] == [
        "CSRT  0.500",
        charts["success"]["data"][2]["name"],
    ]
    assert len(charts["precision"]["data"]) == 2


def test_a_ceiling_says_at_most_and_its_zone_is_below(inputs: Inputs, tmp_path: Path) -> None:
    ceiling = {"name": "latency_ms", "value": 12.0, "threshold": 50.0, "low": None, "high": None}
    ceiling |= {"at_most": True, "passed": True, "why": "12.0 stays within the 50 of gate.ceilings"}
    page = write(tmp_path, dataclasses.replace(inputs, gate={**inputs.gate, "checks": [ceiling]}))
    assert "≤ 50.0" in page
    assert "needs at most 50.0" in page
    assert re.search(r'class="zone" x="0" ', page)


def test_slices_have_intervals_and_small_ones_say_so(page: str, inputs: Inputs) -> None:
    charts = read_data(page, "charts-data")
    known = inputs.slices[inputs.slices["kind"] != "class"]
    drawn = {trace["name"]: len(trace["x"]) for trace in charts["slices"]["data"]}
    assert drawn.get("too few to tell", 0) == known["low"].isna().sum()
    assert sum(drawn.values()) == len(known)
    assert "too few to tell" in page


def test_every_sequence_is_in_a_table(page: str, inputs: Inputs) -> None:
    scores = metrics.summarise_sequences(inputs.matched, inputs.classes)
    for row in scores.to_dict("records"):
        assert f'<th scope="row">{row["sequence"]}</th><td>{row["label"]}</td>' in page
        assert f'data-sort="{row["mean_iou"]}"' in page


def test_of_many_sequences_the_worst_are_listed(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MOST_ROWS", 3)
    scores = metrics.summarise_sequences(inputs.matched, inputs.classes)
    page = write(tmp_path, inputs)
    table = page[page.index("The 3 sequences of least overlap") :]
    listed = re.findall(r'<th scope="row">([^<]+)</th>', table[: table.index("</table>")])
    assert listed == scores.nsmallest(3, "mean_iou")["sequence"].tolist()


def test_a_champion_stands_beside_the_model(inputs: Inputs, tmp_path: Path) -> None:
    truth = inputs.truth[inputs.truth["split"] == "test"]
    champion = metrics.match(truth, perturb(truth, inputs.classes[:4], seed=1))  # other classes
    gate = {**inputs.gate, "comparison": "no measurable change", "champion_version": 3}
    page = write(tmp_path, dataclasses.replace(inputs, champion=champion, gate=gate))
    names = [line["name"] for line in read_data(page, "charts-data")["precision"]["data"]]
    assert [name.rpartition(" ")[0].strip() for name in names] == [
        "this model",
        "champion",
        "static box",
    ]
    assert "Overlap against the champion, version 3: no measurable change." in page


def test_every_slice_has_the_champion_s_overlap_beside_it(inputs: Inputs, tmp_path: Path) -> None:
    page = write(tmp_path, dataclasses.replace(inputs, champion=inputs.matched))
    drawn = {t["name"]: t for t in read_data(page, "charts-data")["slices"]["data"]}
    ours = dict(
        pair
        for name in drawn.keys() - {"champion"}
        for pair in zip(drawn[name]["y"], drawn[name]["x"], strict=True)
    )
    assert dict(zip(drawn["champion"]["y"], drawn["champion"]["x"], strict=True)) == ours


def test_the_scale_of_a_difference_marks_where_nothing_changes(
    inputs: Inputs, tmp_path: Path
) -> None:
    line = {"name": "champion_ao", "passed": True, "why": "by -0.031 [-0.051, -0.013]",
            "value": -0.031, "threshold": -0.08, "low": -0.051, "high": -0.013}  # fmt: skip
    page = write(tmp_path, dataclasses.replace(inputs, gate={**inputs.gate, "checks": [line]}))
    assert 'class="zero" d="M130.0 3V19"' in page
    assert "by −0.031 [−0.051, −0.013]" in page


def test_a_tracker_without_classes_is_told_by_its_boxes(inputs: Inputs, tmp_path: Path) -> None:
    plain = inputs.matched.drop(columns=["class", *(f"p_{name}" for name in inputs.classes)])
    numbers = metrics.summarise(plain, inputs.classes)
    page = write(tmp_path, dataclasses.replace(inputs, matched=plain, metrics=numbers))
    charts = read_data(page, "charts-data")
    assert "confusion" not in charts
    assert [line["name"] for line in charts["reliability"]["data"]] == ["box", "ideal"]
    assert "Sequence accuracy" not in page
    assert read_data(page, "strips-data")[0]["frames"][1]["predicted"] is None


def test_names_from_the_data_cannot_become_markup(inputs: Inputs, tmp_path: Path) -> None:
    evil = "</script><img src=x onerror=alert(1)>"
    names = {inputs.classes[0]: evil}
    matched = inputs.matched.rename(columns={f"p_{inputs.classes[0]}": f"p_{evil}"})
    matched = matched.assign(label=matched["label"].replace(names))
    matched["class"] = matched["class"].replace(names)
    changed = dataclasses.replace(
        inputs,
        matched=matched,
        classes=(evil, *inputs.classes[1:]),
        truth=inputs.truth.assign(**{"class": inputs.truth["class"].replace(names)}),
        lineage={"note": evil},
    )
    page = write(tmp_path, changed)
    assert "<img src=x" not in page
    assert read_data(page, "charts-data")["classes"]["data"][0]["y"]  # the script was not cut short


def test_lineage_unfolds_to_dotted_names(page: str) -> None:
    assert "<dt>git revision</dt><dd>abc123</dd>" in page
    assert "<dt>weights_sha256</dt><dd>f00</dd>" in page
    assert "<dt>train.epochs</dt><dd>5</dd>" in page


def test_the_same_inputs_give_the_same_bytes(page: str, inputs: Inputs, tmp_path: Path) -> None:
    assert write(tmp_path, inputs) == page


def test_large_and_long_footage_is_thinned_and_scaled_down(inputs: Inputs, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (600, 800, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "large.jpg"), noise)
    first = inputs.truth[inputs.truth["split"] == "test"].iloc[[0]]
    truth = pd.concat([first] * 100, ignore_index=True)
    truth = truth.assign(frame=np.arange(100), image="large.jpg", offset=-1, width=800, height=600)
    matched = metrics.match(truth, perturb(truth, inputs.classes, seed=0))
    strip = strips.cut_strip(tmp_path, truth, matched, str(truth["sequence"].iloc[0]))
    numbers = [frame["number"] for frame in strip["frames"]]
    assert (len(numbers), numbers[0], numbers[-1]) == (strips.FRAMES_SHOWN, 0, 99)
    assert (strip["width"], strip["last"]) == (800, 99)
    data = base64.b64decode(strip["frames"][0]["image"].partition(",")[2])
    assert decode(data, "frame").shape == (288, 384, 3)


def test_absent_targets_have_no_true_box(inputs: Inputs) -> None:
    truth = inputs.truth[inputs.truth["split"] == "test"].reset_index(drop=True)
    name = str(truth["sequence"].iloc[0])
    gone = (truth["sequence"] == name) & (truth["frame"] == 2)
    truth = truth.assign(visible=truth["visible"] & ~gone)
    matched = metrics.match(truth, perturb(truth, inputs.classes, seed=0))
    strip = strips.cut_strip(inputs.root, truth, matched, name)
    assert strip["frames"][2]["truth"] is None


def test_what_the_test_set_can_tell_stands_beside_the_verdict(page: str) -> None:
    header = page[page.index("<header") : page.index("</header>")]
    assert "when their overlap differs by <strong>0.040</strong> or more" in header


def test_numbers_say_how_sure_they_are(inputs: Inputs, tmp_path: Path) -> None:
    ends = {"ao_low": 0.51, "ao_high": 0.63}
    page = write(tmp_path, dataclasses.replace(inputs, metrics={**inputs.metrics, **ends}))
    assert "0.510 to 0.630" in page[: page.index('id="gates"')]
    rows = page[page.index('id="scale"') :]
    assert re.search(
        r"Static box.*?this model: [+−]0\.\d{3} \[[+−]0\.\d{3}, [+−]0\.\d{3}\]", rows, re.S
    )


def test_a_strip_first_shows_a_frame_with_its_target(inputs: Inputs) -> None:
    name = inputs.matched["sequence"].iloc[0]
    hidden = inputs.truth.assign(
        visible=(inputs.truth["sequence"] != name) | (inputs.truth["frame"] == 2)
    )
    matched = metrics.match(hidden[hidden["split"] == "test"], inputs.matched)
    strip = strips.cut_strip(inputs.root, hidden, matched, name)
    assert strip["frames"][strip["poster"]]["number"] == 2
