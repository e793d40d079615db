"""Every rule sees its own defect, and only that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trackline.config import Validate
from trackline.data import footage, images
from trackline.data.facts import Facts, Values
from trackline.data.rules import RULES, Rule
from trackline.errors import (
    BoxError,
    ClassError,
    CorruptImageError,
    DataError,
    MissingFrameError,
    ValidationError,
)

PLACE = ["image", "offset", "bytes"]
Change = Callable[[pd.DataFrame], pd.DataFrame]


@pytest.fixture(scope="module")
def sound(world: Path) -> pd.DataFrame:
    """The sound table of the miniature world, in order."""
    return footage.read_all(world)


@pytest.fixture
def table(sound: pd.DataFrame) -> pd.DataFrame:
    """A copy to spoil."""
    return sound.copy()


def pick(table: pd.DataFrame) -> pd.DataFrame:
    """The frame that is spoilt: the second of a training sequence whose target is always visible."""
    steady = table.groupby("sequence")["visible"].transform("all")
    second: pd.DataFrame = table[steady & (table["split"] == "train") & (table["frame"] == 1)]
    return second.head(1)


def whole(table: pd.DataFrame) -> pd.DataFrame:
    """All frames of that sequence."""
    rows: pd.DataFrame = table[table["sequence"] == pick(table)["sequence"].iloc[0]]
    return rows


def put(value: Any, *columns: str, where: Change = pick) -> Change:
    """Set cells of the frames that `where` picks."""

    def change(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[where(table).index, list(columns)] = value
        return table

    return change


def copy_row(table: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([table, pick(table)], ignore_index=True)


def drop_row(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(pick(table).index).reset_index(drop=True)


def drop_split(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["split"] != "val"].reset_index(drop=True)


def cut_image(table: pd.DataFrame) -> pd.DataFrame:
    table.loc[pick(table).index, "bytes"] //= 2
    return table


def leak_image(table: pd.DataFrame) -> pd.DataFrame:
    test = table.index[table["split"] == "test"][5]
    table.loc[test, PLACE] = pick(table)[PLACE].to_numpy()[0]
    return table


def judge(
    table: pd.DataFrame, root: Path, limits: Validate | None = None, classes: tuple[str, ...] = ()
) -> dict[str, Values]:
    """What each broken rule finds."""
    table = table.sort_values(["split", "sequence", "frame"], kind="stable", ignore_index=True)
    facts = Facts(table, images.check(root, table), limits or Validate(), classes)
    found = {rule.name: rule.find(facts) for rule in RULES}
    return {name: values for name, values in found.items() if len(values)}


def get_rule(name: str) -> Rule:
    return next(rule for rule in RULES if rule.name == name)


@pytest.mark.parametrize(
    ("change", "name", "error"),
    [
        (drop_split, "each split has enough sequences", ValidationError),
        (copy_row, "each frame occurs once", ValidationError),
        (put(-1, "bytes"), "each annotated frame has an image", MissingFrameError),
        (put(("no.jpg", -1, 9), *PLACE), "each annotated frame has an image", MissingFrameError),
        (put(0, "line"), "each image has an annotation", MissingFrameError),
        (drop_row, "frames are contiguous", ValidationError),
        (cut_image, "each image decodes", CorruptImageError),
        (put(0, "bytes"), "each image decodes", CorruptImageError),
        (put(0, "offset"), "each image decodes", CorruptImageError),
        (put(np.nan, "x"), "boxes are finite", BoxError),
        (put(np.inf, "w"), "boxes are finite", BoxError),
        (put(0.0, "w"), "boxes are positive", BoxError),
        (put(-3.0, "h"), "boxes are positive", BoxError),
        (put(-1.5, "x"), "boxes are inside their image", BoxError),
        (put(5000.0, "h"), "boxes are inside their image", BoxError),
        (put("brid", "class", where=whole), "classes are known", ClassError),
        (put("", "class", where=whole), "classes are known", ClassError),
        (put("another", "class"), "one class in a sequence", ClassError),
        (leak_image, "no image is in two splits", ValidationError),
        (put(0.0, "cover"), "absence and cover agree", ValidationError),
        (put(np.nan, "cover"), "absence and cover agree", ValidationError),
        (put(9 / 8, "cover"), "absence and cover agree", ValidationError),
        (put(False, "visible"), "absence and cover agree", ValidationError),
    ],
)
def test_a_defect_breaks_its_rule_and_no_other(
    table: pd.DataFrame, world: Path, change: Change, name: str, error: type[DataError]
) -> None:
    classes = tuple(sorted(table["class"].unique()))
    broken = judge(change(table), world, classes=classes)
    assert list(broken) == [name]
    assert get_rule(name).error is error


def test_sound_data_break_none(table: pd.DataFrame, world: Path) -> None:
    assert judge(table, world) == {}


def test_an_absent_target_needs_no_box(table: pd.DataFrame, world: Path) -> None:
    absent = put((False, 0.0, np.nan, np.nan, 0.0, 0.0), "visible", "cover", "x", "y", "w", "h")
    assert judge(absent(table), world) == {}


def test_a_target_absent_throughout_breaks_what_needs_it(table: pd.DataFrame, world: Path) -> None:
    absent = put((False, 0.0), "visible", "cover", where=whole)
    broken = judge(absent(table), world)
    assert list(broken) == ["the target is visible at first", "enough visible frames"]
    assert broken["enough visible frames"].tolist() == ["0 visible frames"]


def test_the_tolerance_is_a_parameter(table: pd.DataFrame, world: Path) -> None:
    assert judge(put(-1.5, "x")(table), world, Validate(outside_tolerance_px=2.0)) == {}


def test_without_listed_classes_any_name_will_do(table: pd.DataFrame, world: Path) -> None:
    assert judge(put("unicorn", "class", where=whole)(table), world) == {}


def test_a_progressive_image_that_was_cut_is_seen(table: pd.DataFrame, tmp_path: Path) -> None:
    import cv2

    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    _, jpeg = cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    data = jpeg.tobytes()
    (tmp_path / "whole.jpg").write_bytes(data)
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) * 3 // 4])
    rows = table.head(2).assign(image=["whole.jpg", "cut.jpg"], offset=-1)
    problems = images.check(tmp_path, rows).problems
    assert problems[0] == ""
    assert "truncated" in problems[1]


def test_the_leaked_copy_is_found_with_its_original(table: pd.DataFrame, world: Path) -> None:
    found = judge(leak_image(table), world)["no image is in two splits"]
    assert found.tolist() == [f"same as {pick(table)['image'].iloc[0]}"]
    assert table.loc[found.index, "split"].tolist() == ["test"]


def test_an_image_of_a_single_tone_is_no_leak(table: pd.DataFrame, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (64, 48)).save(tmp_path / "black.jpg")
    rows = table.head(1).assign(image="black.jpg", offset=-1)
    assert images.check(tmp_path, rows).fingerprints.tolist() == [0]


def test_the_nearest_class_is_offered(table: pd.DataFrame, world: Path) -> None:
    spoil = put("brid", "class", where=whole)
    classes = ("bird", *table["class"].unique())
    found = judge(spoil(table), world, classes=classes)
    assert found["classes are known"].tolist() == ["brid, did you mean bird?"]


def test_a_gap_tells_what_is_missing(table: pd.DataFrame, world: Path) -> None:
    found = judge(drop_row(table), world)
    assert found["frames are contiguous"].tolist() == ["1 to 1"]
