"""The data in numbers: what the features measure, and a file that keeps them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trackline.config import Drift
from trackline.data import footage, profile
from trackline.data.profile import MEASURED
from trackline.errors import DataError, EmptyDataError


@pytest.fixture(scope="module")
def table(world: Path) -> pd.DataFrame:
    """The miniature world's table."""
    return footage.read_all(world)


def measure(table: pd.DataFrame, root: Path) -> pd.Series[float]:
    """Features of the only sequence of a table."""
    features: pd.Series[float] = profile.describe(table, root, "train", Drift()).features.iloc[0]
    return features


@pytest.fixture
def one(table: pd.DataFrame) -> pd.DataFrame:
    """Its first training sequence, with boxes that are easy to calculate with."""
    first = table.loc[table["split"] == "train", "sequence"].iloc[0]
    rows: pd.DataFrame = table[table["sequence"] == first].reset_index(drop=True)
    frame = rows["frame"].to_numpy()
    return rows.assign(x=10.0 + 4 * frame, y=20.0, w=16.0, h=4.0, visible=True)


def test_boxes_are_measured_in_logs_target_sizes_and_image_shares(
    one: pd.DataFrame, world: Path
) -> None:
    features = measure(one, world)
    assert features["log_area"] == pytest.approx(np.log(64), rel=1e-3)
    assert features["log_aspect"] == pytest.approx(np.log(4), rel=1e-3)
    assert features["motion"] == pytest.approx(4 / 8)
    assert features["centre_x"] == pytest.approx((10 + 10 + 8) / one["width"].iloc[0], rel=1e-3)
    assert features["centre_y"] == pytest.approx(22 / one["height"].iloc[0], rel=1e-3)
    assert (features["length"], features["absence"]) == (6, 0)


def test_absent_frames_count_as_absence_and_for_nothing_else(
    one: pd.DataFrame, world: Path
) -> None:
    one.loc[2, ["visible", "x", "w"]] = [False, np.inf, np.nan]
    features = measure(one, world)
    assert features["absence"] == pytest.approx(1 / 6, rel=1e-3)
    assert features["motion"] == pytest.approx(4 / 8)  # no step spans the gap


def test_a_sequence_of_which_nothing_can_be_read_has_no_such_features(
    one: pd.DataFrame, world: Path
) -> None:
    features = measure(one.assign(w=0.0, bytes=0), world)
    unknown = features[features.isna()].index
    known = {"length", "absence", "class"}
    assert set(unknown) == set(MEASURED) - known


def test_a_profile_survives_its_file_and_is_the_same_every_time(
    table: pd.DataFrame, world: Path, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        profile.describe(table, world, "train", Drift()).write(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    kept = profile.read(tmp_path / "a")
    assert (kept.split, kept.sequences, kept.frames) == ("train", 20, 120)
    pd.testing.assert_frame_equal(
        kept.features, profile.describe(table, world, "train", Drift()).features
    )


def test_unknown_values_survive_the_file_too(
    one: pd.DataFrame, world: Path, tmp_path: Path
) -> None:
    profile.describe(one.assign(w=0.0), world, "train", Drift()).write(tmp_path / "p.json")
    assert profile.read(tmp_path / "p.json").features["motion"].isna().all()


def test_no_more_than_a_sample_is_measured(table: pd.DataFrame, world: Path) -> None:
    described = profile.describe(table, world, "train", Drift(sample=5))
    assert (described.sequences, len(described.features)) == (20, 5)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"features": {"motion": 3}}'])
def test_what_is_no_profile_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(DataError, match="is not a profile"):
        profile.read(tmp_path / "p.json")


def test_a_split_without_sequences_cannot_be_profiled(table: pd.DataFrame, world: Path) -> None:
    with pytest.raises(EmptyDataError, match="no sequence to profile"):
        profile.describe(table.head(0), world, "train", Drift())
