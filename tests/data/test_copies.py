"""Copies to the eye: another encoding flips a few bits of how an image looks, another scene many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trackline.config import Validate
from trackline.data import copies, defects, footage
from trackline.data.facts import Facts
from trackline.data.images import Checks


@pytest.fixture
def table(world: Path) -> pd.DataFrame:
    """The miniature's table; its first training and first test sequence have six and eight frames."""
    return footage.read_all(world)


def draw_looks(table: pd.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """Looks of images that have nothing in common."""
    return np.random.default_rng(0).integers(1, 2**63, len(table), dtype=np.uint64)


def face(table: pd.DataFrame, looks: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> Facts:
    nothing = np.full(len(table), "", dtype=object)
    checks = Checks(nothing, np.zeros(len(table), np.uint64), looks)
    return Facts(table, checks, Validate(), ())


def flip(look: np.uint64, *bits: int) -> np.uint64:
    return look ^ np.uint64(sum(1 << bit for bit in bits))


@pytest.mark.parametrize("bits", [(), (3,), (0, 63), (17, 18), (20, 40)])
def test_footage_encoded_anew_is_known_by_looks_a_few_bits_apart(
    bits: tuple[int, ...], table: pd.DataFrame
) -> None:
    looks = draw_looks(table)
    train, test = (np.flatnonzero(table["split"] == split)[:6] for split in ("train", "test"))
    looks[test] = [flip(look, *bits) for look in looks[train]]
    found = copies.find_near_leaks(face(table, looks))
    assert table["sequence"].iloc[train[0]] in found.item()
    assert found.item().startswith("6 frames look like")


@pytest.mark.parametrize(("bits", "frames"), [((3, 20, 40), 6), ((3,), 1)])
def test_looks_further_apart_or_of_one_frame_are_chance(
    bits: tuple[int, ...], frames: int, table: pd.DataFrame
) -> None:
    looks = draw_looks(table)
    train, test = (np.flatnonzero(table["split"] == split)[:frames] for split in ("train", "test"))
    looks[test] = [flip(look, *bits) for look in looks[train]]
    assert copies.find_near_leaks(face(table, looks)).empty


def test_a_box_that_cannot_be_right_says_nothing_of_its_image(table: pd.DataFrame) -> None:
    """The image hardly changes while the box jumps: the annotation is wrong, not the footage."""
    table[["x", "y", "w", "h"]] = [20.0, 20.0, 8.0, 8.0]
    looks = draw_looks(table)
    looks[1:4] = looks[0]
    table.loc[1, "x"] = 30.0  # a step
    table.loc[2, "x"] = 120.0  # a jump, and back
    facts = face(table, looks)
    assert set(defects.find_teleports(facts).index) == {2, 3}
    assert copies.find_repeats(facts).index.tolist() == [1]


def test_a_class_that_is_no_class_throws_nothing_out_of_balance(table: pd.DataFrame) -> None:
    first = table.loc[table["split"] == "train", "sequence"].iloc[0]
    table.loc[table["split"] == "train", "class"] = "car"
    table.loc[table["sequence"] == first, "class"] = "aeroplnae"
    facts = Facts(table, face(table, draw_looks(table)).checks, Validate(max_imbalance=2), ("car",))
    assert defects.find_imbalance(facts).empty
