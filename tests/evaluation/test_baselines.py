"""The baselines, on drawings of which we know what colour, shape and motion give away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from trackline.data import footage
from trackline.data.frames import Frames
from trackline.data.table import BOX, COLUMNS
from trackline.evaluation import baselines, metrics

Colour = tuple[int, int, int]
Size = tuple[int, int]
RED, BLUE = (220, 40, 40), (40, 40, 220)
SQUARE, BAR = (24, 24), (48, 12)
CLASSES = ("a", "b")
needs_csrt = pytest.mark.skipif(
    not hasattr(cv2, "TrackerCSRT_create"), reason="this OpenCV has no CSRT"
)


def draw(root: Path, name: str, colour: Colour, size: Size) -> pd.DataFrame:
    """Write five frames of a rectangle that moves over noise, and give its rows of the table."""
    noise = np.random.default_rng(len(name)).integers(90, 140, (120, 160, 3), dtype=np.uint8)
    (w, h), rows = size, []
    for frame in range(5):
        x, y = 20 + 6 * frame, 30 + 3 * frame
        image = cv2.rectangle(noise.copy(), (x, y), (x + w - 1, y + h - 1), colour, -1)
        image[y + h // 2, x : x + w] = 255  # something to hold on to
        path = f"{name}-{frame}.png"
        cv2.imwrite(str(root / path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        rows.append((name, frame, path, float(x), float(y), float(w), float(h)))
    table = pd.DataFrame(rows, columns=["sequence", "frame", "image", *BOX])
    known: dict[str, Any] = {"split": name.partition("-")[0], "class": name[-1]}
    table = table.assign(**known, offset=-1, bytes=-1, width=160, height=120, visible=True)
    return table.reindex(columns=list(COLUMNS)).assign(
        cover=1.0, source=name, dataset="set", line=1
    )


def draw_world(root: Path, a: tuple[Colour, Size], b: tuple[Colour, Size]) -> pd.DataFrame:
    """Two classes, two sequences of each in both splits; the arguments say how they look."""
    names = [f"{split}-{n}" for split in ("train", "test") for n in range(2)]
    tables = [draw(root, f"{name}-a", *a) for name in names]
    return pd.concat([*tables, *(draw(root, f"{name}-b", *b) for name in names)])


def test_the_static_box_is_the_first_one(tmp_path: Path) -> None:
    truth = draw(tmp_path, "test-a", RED, SQUARE)
    guess = baselines.predict_static(truth.sample(frac=1, random_state=0))
    assert guess["frame"].tolist() == [0, 1, 2, 3, 4]
    assert (guess[BOX] == truth[BOX].iloc[0]).all(axis=None)


def test_colours_name_what_differs_in_colour_only(tmp_path: Path) -> None:
    table = draw_world(tmp_path, (RED, SQUARE), (BLUE, SQUARE))
    scores = baselines.score_linear(table, Frames(tmp_path), "test", CLASSES)
    assert scores == {"colour_accuracy": 1, "shape_accuracy": 0.5}


def test_the_box_names_what_differs_in_shape_only(tmp_path: Path) -> None:
    table = draw_world(tmp_path, (RED, SQUARE), (RED, BAR))
    scores = baselines.score_linear(table, Frames(tmp_path), "test", CLASSES)
    assert scores["shape_accuracy"] == 1


def test_the_colours_of_a_box_are_a_unit_vector_wherever_it_lies() -> None:
    image = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    for box in ([10, 10, 30, 20], [-5, -5, 8, 8], [158.7, 118.7, 9, 9], [50, 50, 0.2, 0.2]):
        colour = baselines.measure_colour(image, np.array(box, dtype=float))
        assert colour.shape == (192,)
        assert np.linalg.norm(colour) == pytest.approx(1)


def test_without_a_train_split_no_classifier_is_scored(tmp_path: Path) -> None:
    table = draw(tmp_path, "test-a", RED, SQUARE)
    scores = baselines.score_linear(table, Frames(tmp_path), "test", CLASSES)
    assert scores == {"colour_accuracy": None, "shape_accuracy": None}


@needs_csrt
def test_csrt_follows_what_the_static_box_loses(tmp_path: Path) -> None:
    truth = draw(tmp_path, "test-a", RED, SQUARE)
    guess, fps = baselines.predict_csrt(truth, Frames(tmp_path), "test")
    assert guess is not None
    assert fps is not None
    assert fps > 0
    static = metrics.match(truth, baselines.predict_static(truth))
    assert metrics.match(truth, guess)["iou"].mean() > static["iou"].mean() + 0.3


@needs_csrt
def test_a_target_that_breaks_csrt_stays_where_it_was(tmp_path: Path) -> None:
    truth = draw(tmp_path, "test-a", RED, SQUARE)
    truth[BOX] = [0.0, 0.0, 160.0, 1.0]  # cv2.error: Assertion failed, 0 <= roi.x
    guess, _ = baselines.predict_csrt(truth, Frames(tmp_path), "test")
    assert guess is not None
    assert (guess[BOX] == [0, 0, 160, 1]).all(axis=None)


def test_an_opencv_without_csrt_is_said_and_survived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(cv2, "TrackerCSRT_create", raising=False)
    truth = draw(tmp_path, "test-a", RED, SQUARE)
    assert baselines.predict_csrt(truth, Frames(tmp_path), "test") == (None, None)
    assert "opencv-contrib" in capsys.readouterr().err


def test_all_baselines_run_on_the_demo_world(world: Path) -> None:
    table = footage.read_all(world)
    classes = tuple(sorted(table["class"].unique()))
    scores, matched = baselines.run_baselines(table, Frames(world), "test", classes)
    assert "static_box" in matched
    assert set(scores) == {"ao_static", "ao_csrt", "csrt_fps", "colour_accuracy", "shape_accuracy"}
    for name in ("ao_static", "colour_accuracy", "shape_accuracy"):
        score = scores[name]
        assert score is not None
        assert 0 <= score < 0.7
