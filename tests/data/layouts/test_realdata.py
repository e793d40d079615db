"""Real sequences of eleven data sets: each is read, and its boxes are what its own files say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trackline.data import footage
from trackline.data.frames import Frames
from trackline.data.table import BOX, iterate

LAYOUTS = {
    "otb": "otb",
    "dtb70": "otb",
    "uav123_10fps": "uav123",
    "lasot": "lasot",
    "vot": "vot",
    "davis": "davis",
    "got10k_style": "got10k",
    "mot": "mot",
    "tld": "tld",
}


@pytest.fixture(scope="module")
def everything(realdata: Path) -> pd.DataFrame:
    return footage.read_all(realdata)


def numbers(path: Path) -> np.ndarray:
    lines = path.read_text().split("\n")
    return np.array([line.replace(",", " ").split() for line in lines if line], dtype=float)


def test_every_data_set_is_told_by_its_files(realdata: Path) -> None:
    found = {f.dataset: f.layout for f in footage.find(realdata) if "/" not in f.dataset}
    assert found == LAYOUTS


def test_every_listed_sequence_is_read_with_all_its_frames_and_their_size(
    realdata: Path, everything: pd.DataFrame
) -> None:
    for listed in json.loads((realdata / "sequences.json").read_text()):
        mine = everything[everything["image"].str.startswith(f"{listed['path']}/")]
        assert mine["image"].nunique() == listed["frames"], listed["path"]
        assert set(mine["width"]) == {listed["size"][0]}, listed["path"]
        assert set(mine["height"]) == {listed["size"][1]}, listed["path"]
        if "nan_rows" in listed:
            assert (~mine["visible"]).sum() == listed["nan_rows"], listed["path"]


@pytest.mark.parametrize(
    ("home", "file", "shift"),
    [
        ("otb/Couple/", "otb/Couple/groundtruth_rect.txt", 1),
        ("otb/Deer/", "otb/Deer/groundtruth_rect.txt", 1),
        ("otb/MotorRolling/", "otb/MotorRolling/groundtruth_rect.txt", 1),
        ("dtb70/Animal3/", "dtb70/Animal3/groundtruth_rect.txt", 1),
        ("uav123_10fps/data_seq/person9/", "uav123_10fps/anno/person9.txt", 1),
        ("lasot/airplane-1/", "lasot/airplane-1/groundtruth.txt", 1),
        ("got10k_style/truck_1/", "got10k_style/truck_1/groundtruth.txt", 0),
        ("davis/JPEGImages/480p/blackswan/", "davis/derived_boxes/blackswan.txt", 0),
        ("davis/JPEGImages/480p/bmx-trees/", "davis/derived_boxes/bmx-trees.txt", 0),
        ("davis/JPEGImages/480p/car-shadow/", "davis/derived_boxes/car-shadow.txt", 0),
        ("davis/JPEGImages/480p/dog/", "davis/derived_boxes/dog.txt", 0),
        ("davis/JPEGImages/480p/horsejump-high/", "davis/derived_boxes/horsejump-high.txt", 0),
    ],
)
def test_boxes_are_those_of_the_file_with_the_first_pixel_at_zero(
    realdata: Path, everything: pd.DataFrame, home: str, file: str, shift: int
) -> None:
    mine = everything[everything["image"].str.startswith(home)]
    np.testing.assert_allclose(
        mine[BOX].to_numpy(), numbers(realdata / file) - [shift, shift, 0, 0]
    )


@pytest.mark.parametrize("name", ["06_car", "03_pedestrian1"])
def test_corners_become_sizes_and_nan_is_absent(
    realdata: Path, everything: pd.DataFrame, name: str
) -> None:
    mine = everything[everything["image"].str.startswith(f"tld/{name}/")]
    corners = numbers(realdata / f"tld/{name}/gt.txt")
    there = np.isfinite(corners).all(axis=1)
    assert mine["visible"].tolist() == there.tolist()
    want = np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]])
    np.testing.assert_allclose(mine[BOX].to_numpy()[there], want[there])


def test_a_polygon_becomes_its_extent(everything: pd.DataFrame) -> None:
    first = everything[everything["image"] == "vot/bag/00000001.jpg"]
    np.testing.assert_allclose(first[BOX].to_numpy()[0], [292.23, 128.36, 145.96, 132.47])


@pytest.mark.parametrize("video", ["MOT17-02-FRCNN", "MOT17-05-FRCNN", "MOT17-13-FRCNN"])
def test_each_counted_identity_becomes_a_sequence(
    realdata: Path, everything: pd.DataFrame, video: str
) -> None:
    mine = everything[everything["image"].str.startswith(f"mot/{video}/")]
    rows = numbers(realdata / f"mot/{video}/gt/gt.txt")
    counted = rows[(rows[:, 6] != 0) & (rows[:, 8] > 0)]
    assert mine["sequence"].nunique() == len(np.unique(counted[:, 1]))
    assert mine["visible"].sum() == len(counted)
    boxes = mine[mine["visible"]].sort_values("line")[BOX].to_numpy()
    order = np.argsort(np.flatnonzero((rows[:, 6] != 0) & (rows[:, 8] > 0)))
    np.testing.assert_allclose(boxes, counted[order][:, 2:6] - [1, 1, 0, 0])


@pytest.mark.parametrize(("name", "length"), [("06_car", 945), ("03_pedestrian1", 140)])
def test_the_videos_play_in_any_order(
    realdata: Path, everything: pd.DataFrame, name: str, length: int
) -> None:
    mine = everything[everything["image"].str.startswith(f"tld/{name}/")]
    (sequence,) = iterate(mine, mine["split"].iloc[0])
    assert len(sequence) == length
    in_order = Frames(realdata, cache_mb=4096)
    want = [in_order(sequence, frame) for frame in range(length)]
    leaping = Frames(realdata, cache_mb=0)
    for frame in [length - 1, 5, 0, length // 2, length // 2 - 1, 13, length - 3]:
        np.testing.assert_array_equal(leaping(sequence, frame), want[frame])


@pytest.mark.parametrize(
    ("file", "rows", "absent"),
    [
        ("lasot/lion-5.txt", 2451, 74),
        ("lasot/pool-14.txt", 3065, 120),
        ("lasot/microphone-6.txt", 1767, 142),
        ("lasot/helmet-9.txt", 1898, 258),
        ("lasot/licenseplate-5.txt", 8000, 2895),
        ("uav123_10fps/person9.txt", 221, 12),
        ("uav123_10fps/wakeboard7.txt", 67, 0),
        ("dtb70/BMX3/groundtruth_rect.txt", 121, 0),
        ("tld/07_motocross/gt.txt", 2665, 1253),
        ("trackingnet/anno/a1qoB1eERn0_0.txt", 540, 0),
        ("trackingnet/anno/a8v0k4Bz_QA_0.txt", 480, 0),
        ("otb/Board/groundtruth_rect.txt", 698, 0),
        ("otb/Tiger1/groundtruth_rect.txt", 354, 0),
        ("otb/Biker/groundtruth_rect.txt", 142, 0),
        ("mot/HB01/gt/gt.txt", 31, 0),
    ],
)
def test_annotations_without_images_are_read_row_by_row(
    everything: pd.DataFrame, file: str, rows: int, absent: int
) -> None:
    mine = everything[everything["source"] == f"annotations/{file}"]
    assert len(mine) == rows
    assert (~mine["visible"]).sum() == absent
    assert mine["line"].tolist() == list(range(1, rows + 1))
    assert mine["bytes"].lt(0).all()
