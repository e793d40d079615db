"""Slices: which sequences belong to which, and that few of them claim nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from trackline.evaluation import metrics, slices


def annotate(name: str, size: float = 50, speed: float = 0, frames: int = 6) -> pd.DataFrame:
    """A square target that moves so many of its sizes each frame."""
    frame = np.arange(frames)
    return pd.DataFrame(
        {
            "sequence": name, "frame": frame, "x": frame * speed * size, "y": 5.0, "w": size,
            "h": size, "width": 500, "height": 500, "visible": True, "cover": 1.0, "class": "ball",
        }
    )  # fmt: skip


def kinds(*tables: pd.DataFrame) -> pd.DataFrame:
    return slices.describe(pd.concat(tables))


def test_sizes_are_those_of_coco_and_speeds_are_in_target_sizes() -> None:
    found = kinds(annotate("a", 31), annotate("b", 32, 0.1), annotate("c", 96, 0.2))
    assert found["size"].tolist() == ["small", "medium", "large"]
    assert found["speed"].tolist() == ["slow", "medium", "fast"]


def test_lengths_are_in_frames() -> None:
    assert kinds(annotate("a", frames=99), annotate("b", frames=100))["length"].tolist() == [
        "short",
        "medium",
    ]


def test_occlusion_is_the_worst_moment_and_absence_is_heavy() -> None:
    tables = [annotate(name) for name in "abcd"]
    tables[1].loc[3, "cover"] = 0.5
    tables[2].loc[3, "visible"] = False
    tables[3]["cover"] = np.nan
    assert kinds(*tables)["occlusion"].tolist() == ["none", "partial", "heavy", "unknown"]


def test_an_absent_frame_is_no_jump() -> None:
    moved = annotate("b", speed=0.1)
    moved.loc[2, ["x", "visible"]] = [1e6, False]
    assert kinds(annotate("a"), moved)["speed"].tolist() == ["slow", "medium"]


def test_columns_of_one_s_own_are_kinds_too() -> None:
    tables = [
        annotate(f"s{i}").assign(weather="rain" if i % 2 else "sun", hour=i) for i in range(9)
    ]
    found = kinds(*tables)
    assert found["weather"].value_counts().to_dict() == {"sun": 5, "rain": 4}
    assert found["hour"].tolist() == ["low"] * 3 + ["middle"] * 3 + ["high"] * 3


def test_a_kind_with_one_slice_tells_nothing() -> None:
    assert list(kinds(annotate("a"), annotate("b"))) == []


def test_a_slice_is_scored_like_the_whole_and_a_small_one_says_so() -> None:
    small = [annotate(f"a{i}", 20) for i in range(6)]
    truth = pd.concat([*small, annotate("b", 100)])
    guess = truth[["sequence", "frame", "x", "y", "w", "h"]].copy()
    guess.loc[guess["sequence"] == "b", "x"] += 1000
    matched = metrics.match(truth, guess.assign(confidence=1.0))
    table = slices.summarise(matched, truth, min_sequences=5)
    rows = {row["slice"]: row for row in table.to_dict("records")}
    assert [rows["small"][k] for k in ("sequences", "frames", "ao")] == [6, 30, 1]
    assert rows["small"]["low"] == pytest.approx(1)
    assert rows["large"]["ao"] == 0
    assert np.isnan(rows["large"]["low"])
    assert rows["large"]["note"] == "too few to tell"
