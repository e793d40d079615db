"""GOT-10k's layout read into the annotation table: nothing is dropped, nothing shifts."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from trackline.data import footage
from trackline.data.layouts.text import parse_boxes
from trackline.data.table import BOX, COLUMNS
from trackline.errors import DataError, EmptyDataError

META = "[METAINFO]\nurl: https://example.org/100%\nobject_class: bird\nresolution: (64, 48)\n"


def write_sequence(
    folder: Path, boxes: str, numbers: Iterable[int] = (1, 2, 3), **notes: str
) -> Path:
    """A sequence of grey 64x48 images; `notes` are the label files by their first name."""
    folder.mkdir(parents=True)
    for number in numbers:
        cv2.imwrite(str(folder / f"{number:08d}.jpg"), np.full((48, 64, 3), number, np.uint8))
    (folder / "groundtruth.txt").write_text(boxes)
    (folder / "meta_info.ini").write_text(notes.pop("meta", META))
    for name, text in notes.items():
        (folder / f"{name}.label").write_text(text)
    return folder


def read(root: Path) -> pd.DataFrame:
    return footage.read_all(root)


THREE = "1,2,3,4\n5,6,7,8\n9,10,11,12\n"


def test_a_sequence_becomes_one_row_a_frame(tmp_path: Path) -> None:
    write_sequence(tmp_path / "train/a", THREE, absence="0\n1\n0\n", cover="8\n0\n4\n")

    table = read(tmp_path)

    assert {name: str(table[name].dtype) for name in COLUMNS} == COLUMNS
    assert table[BOX].to_numpy().tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]
    assert table["frame"].tolist() == [0, 1, 2]
    assert table["visible"].tolist() == [True, False, True]
    assert table["cover"].tolist() == [1, 0, 0.5]
    assert table["image"].iloc[1] == "train/a/00000002.jpg"
    assert set(table["source"]) == {"train/a/groundtruth.txt"}
    assert table["line"].tolist() == [1, 2, 3]
    assert table[["stated_width", "stated_height"]].to_numpy().tolist() == [[64, 48]] * 3
    assert set(table["width"]) == {64}
    assert set(table["height"]) == {48}
    assert set(table["class"]) == {"bird"}
    assert set(table["offset"]) == {-1}


def test_labels_are_optional(tmp_path: Path) -> None:
    write_sequence(tmp_path / "train/a", THREE)
    table = read(tmp_path)
    assert table["visible"].all()
    assert table["cover"].isna().all()


def test_the_same_sequence_reads_the_same_from_a_shard(tmp_path: Path) -> None:
    folder = write_sequence(tmp_path / "loose/train/a", THREE)
    (tmp_path / "packed/train").mkdir(parents=True)
    with tarfile.open(tmp_path / "packed/train/s.tar", "w") as tar:
        tar.add(folder, "a")

    loose, packed = read(tmp_path / "loose"), read(tmp_path / "packed")

    assert packed["image"].iloc[0] == "train/s.tar/a/00000001.jpg"
    assert packed["source"].iloc[0] == "train/s.tar/a/groundtruth.txt"
    assert (packed["offset"] > 0).all()
    place = ["dataset", "image", "offset", "source"]
    pd.testing.assert_frame_equal(packed.drop(columns=place), loose.drop(columns=place))


def test_rows_are_ordered_by_split_and_sequence(tmp_path: Path) -> None:
    for name in ("val/a", "train/b", "train/a", "test/c"):
        write_sequence(tmp_path / name, THREE)
    order = [(found.clip.split, found.clip.name) for found in footage.find(tmp_path)]
    assert order == [("test", "c"), ("train", "b"), ("train", "train-a"), ("val", "val-a")]


@pytest.mark.parametrize("separator", [",", " ", "\t", ", ", "  "])
def test_commas_blanks_and_tabs_separate(separator: str) -> None:
    text = separator.join(["1.5", "2", "3", "4"])
    assert parse_boxes(text + "\r\n").tolist() == [[1.5, 2, 3, 4]]


@pytest.mark.parametrize(
    "line", ["1,2,3", "1,2,3,4,5,6,7,8", "a,b,c,d", "", "1,2,,4", "NaN,NaN,NaN,NaN"]
)
def test_a_line_that_is_not_four_numbers_keeps_its_place(line: str) -> None:
    boxes = parse_boxes(f"1,2,3,4\n{line}\n5,6,7,8\n\n")
    assert np.isnan(boxes[1]).all()
    assert boxes[[0, 2]].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_a_missing_image_leaves_a_row_and_shifts_no_other(tmp_path: Path) -> None:
    write_sequence(tmp_path / "train/a", THREE, numbers=(1, 3))
    table = read(tmp_path)
    assert table["image"].tolist()[1:] == ["train/a/00000002.jpg", "train/a/00000003.jpg"]
    assert table["bytes"].lt(0).tolist() == [False, True, False]
    assert table["width"].tolist() == [64, 0, 64]
    assert table["x"].tolist() == [1, 5, 9]


def test_a_missing_first_image_shifts_no_other(tmp_path: Path) -> None:
    write_sequence(tmp_path / "train/a", THREE, numbers=(2, 3))
    assert read(tmp_path)["bytes"].iloc[0] == -1


def test_an_image_without_annotation_has_no_box_and_no_line(tmp_path: Path) -> None:
    write_sequence(tmp_path / "train/a", "1,2,3,4\n", numbers=(1, 2))
    row = read(tmp_path).iloc[1]
    assert row["bytes"] > 0
    assert row[BOX].isna().all()
    assert row["line"] == 0


@pytest.mark.parametrize("first", [0, 1, 15])
def test_clips_may_start_at_any_number(tmp_path: Path, first: int) -> None:
    write_sequence(tmp_path / "train/a", THREE, numbers=range(first, first + 3))
    table = read(tmp_path)
    assert table["frame"].tolist() == [0, 1, 2]
    assert (table["bytes"] > 0).all()


def test_two_images_of_one_number_both_appear(tmp_path: Path) -> None:
    folder = write_sequence(tmp_path / "train/a", THREE)
    (folder / "2.png").write_bytes(b"")
    assert read(tmp_path)["frame"].tolist() == [0, 1, 1, 2]


def test_an_image_without_a_readable_header_has_no_size(tmp_path: Path) -> None:
    folder = write_sequence(tmp_path / "train/a", THREE)
    (folder / "00000002.jpg").write_bytes(b"not an image")
    row = read(tmp_path).iloc[1]
    assert row[["bytes", "width", "height"]].tolist() == [12, 0, 0]


def test_a_photograph_on_its_side_has_the_size_it_is_decoded_to(tmp_path: Path) -> None:
    from PIL import Image

    folder = write_sequence(tmp_path / "train/a", THREE)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (64, 48)).save(folder / "00000002.jpg", exif=exif)
    decoded = cv2.imread(str(folder / "00000002.jpg"))
    assert decoded is not None
    row = read(tmp_path).iloc[1]
    assert (row["height"], row["width"]) == decoded.shape[:2] == (64, 48)


@pytest.mark.parametrize("meta", ["", "object_class: bird", "[METAINFO]\nmotion: fast"])
def test_a_class_that_is_not_stated_is_empty(tmp_path: Path, meta: str) -> None:
    write_sequence(tmp_path / "train/a", THREE, meta=meta)
    assert set(read(tmp_path)["class"]) == {""}


def test_an_image_without_a_number_is_refused(tmp_path: Path) -> None:
    folder = write_sequence(tmp_path / "train/a", THREE)
    (folder / "cover.jpg").touch()
    with pytest.raises(DataError, match=r"cover\.jpg has no frame number"):
        footage.find(tmp_path)


@pytest.mark.parametrize("split", ["", "train", "train/empty", "holdout/a"])
def test_no_sequence_is_an_error_of_its_own(tmp_path: Path, split: str) -> None:
    (tmp_path / split).mkdir(parents=True, exist_ok=True)
    with pytest.raises(EmptyDataError, match="holds no sequence"):
        footage.find(tmp_path)


def test_sequences_that_a_list_promises_are_missed(tmp_path: Path) -> None:
    write_sequence(tmp_path / "train/a", THREE)
    (tmp_path / "train/list.txt").write_text("a\nb\n")
    assert footage.find_lost(footage.find(tmp_path)) == ["train/b"]
