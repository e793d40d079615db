"""The rules on real data: the defects that people know of are found in their rows, and no other error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trackline.config import Validate
from trackline.data import footage, images
from trackline.data.facts import Facts
from trackline.data.images import Checks
from trackline.data.rules import RULES

REALDATA = Path(__file__).parents[3] / "shared/realdata"
pytestmark = pytest.mark.skipif(not REALDATA.is_dir(), reason=f"no real sequences at {REALDATA}")

WITHOUT_IMAGES = "each annotated frame has an image"
NEEDS_SETTINGS = {
    "classes are known",
    "each split has enough sequences",
}  # classes and splits are ours
SHORT = "enough visible frames"

Found = dict[str, dict[str, list[int]]]  # lines by rule and annotation file


def judge(table: pd.DataFrame, checks: Checks, severity: str) -> Found:
    """What the rules of one severity find, but for what only settings can mend."""
    facts = Facts(table, checks, Validate(), ())
    found: Found = {}
    for rule in RULES:
        if rule.severity == severity and rule.unit != "split" and rule.name not in NEEDS_SETTINGS:
            at = rule.find(facts).index
            rows = facts.units[rule.unit].loc[at]
            for file, lines in rows.groupby("source")["line"]:
                found.setdefault(rule.name, {})[str(file)] = lines.tolist()
    return found


def without_images(table: pd.DataFrame) -> Checks:
    zeros = np.zeros(len(table), dtype=np.uint64)
    return Checks(np.full(len(table), "", dtype=object), zeros, zeros)


@pytest.fixture(scope="module")
def bare() -> pd.DataFrame:
    return footage.read_all(REALDATA / "annotations")


@pytest.fixture(scope="module")
def sequences() -> pd.DataFrame:
    table = footage.read_all(REALDATA)
    return table[~table["dataset"].str.startswith("annotations/")].reset_index(drop=True)


def test_sequences_have_the_one_error_that_is_known(
    sequences: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = judge(sequences, images.check(REALDATA, sequences), "error")
    assert found == {
        "each image has an annotation": {"otb/Football1/groundtruth_rect.txt": [0] * 7}
    }


def test_lengths_that_meta_files_overstate_are_warned_of(sequences: pd.DataFrame) -> None:
    found = judge(sequences, without_images(sequences), "warning")
    assert set(found["footage has the stated length"]) == {
        f"mot/{video}/gt/gt.txt" for video in ("MOT17-02-FRCNN", "MOT17-05-FRCNN", "MOT17-13-FRCNN")
    }
    assert set(found["absence and cover agree"]) == {"got10k_style/truck_1/groundtruth.txt"}


def test_annotations_have_the_errors_that_are_known_and_no_other(bare: pd.DataFrame) -> None:
    found = judge(bare, without_images(bare), "error")
    del found[WITHOUT_IMAGES]  # there are none in this collection
    short = found.pop(SHORT)  # targets that are counted in a single frame
    assert set(short) == {"mot/MOT17-train/MOT17-05-FRCNN/gt/gt.txt"}
    assert found == {
        "boxes are positive": {
            "got10k_style/human_1_v1/groundtruth.txt": [28],
            "lasot/lion-5.txt": [553],
            "lasot/microphone-6.txt": [1109],
            "lasot/pool-14.txt": [146],
            "otb/Board/groundtruth_rect.txt": [698],
        },
        "boxes are inside their image": {
            "otb/Biker/groundtruth_rect.txt": [72, 73, 74, 75, 76, 77]
        },
    }


def test_what_is_unusual_is_warned_of_in_its_rows(bare: pd.DataFrame) -> None:
    found = judge(bare, without_images(bare), "warning")
    beyond = found["boxes end at the border of their image"]
    assert beyond["trackingnet/anno/a1qoB1eERn0_0.txt"] == list(range(162, 169))
    assert (
        len(beyond["trackingnet/anno/a3In51YCqMg_0.txt"]) == 30
    )  # of 31; one within the tolerance
    assert len(beyond["mot/MOT15-train/TUD-Campus/gt/gt.txt"]) == 11
    boxed = found["absent targets have no box"]
    assert {file: len(lines) for file, lines in boxed.items()} == {
        "lasot/helmet-9.txt": 258,
        "lasot/licenseplate-5.txt": 2895,
    }
    assert found["boxes are alive"]["mot/HB01/gt/gt.txt"] == list(range(1, 32))


@pytest.mark.parametrize(
    ("sequence", "unpaired", "unannotated"),
    [("human_1_v1", [28], 0), ("human_1_v2", list(range(28, 158)), 0), ("truck_1_v2", [], 109)],
)
def test_rows_and_images_that_do_not_pair_up(
    sequence: str, unpaired: list[int], unannotated: int, tmp_path: Path
) -> None:
    source = REALDATA / "annotations/got10k_style" / sequence
    folder = tmp_path / "train" / sequence
    folder.mkdir(parents=True)
    for note in source.iterdir():
        (folder / note.name).write_bytes(note.read_bytes())
    for image in (source / "images.txt").read_text().split():
        (folder / image).write_bytes(b"stands for the image")
    table = footage.read_all(tmp_path)
    found = judge(table, without_images(table), "error")
    file = f"train/{sequence}/groundtruth.txt"
    assert found.get(WITHOUT_IMAGES, {}).get(file, []) == unpaired
    assert len(found.get("each image has an annotation", {}).get(file, [])) == unannotated
