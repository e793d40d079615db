"""Each layout, by a miniature of it: what it is called, where its boxes and classes are, what is absent."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from trackline.config import Data, Shares
from trackline.data import footage
from trackline.data.frames import Frames, decode, read_bytes
from trackline.data.table import BOX, COLUMNS, iterate
from trackline.errors import DataError

Files = dict[str, str]


def lay(root: Path, files: Files, *images: str) -> Path:
    """Write text files, and grey 64x48 images of the given names."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for shade, name in enumerate(images):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / name), np.full((48, 64, 3), 40 * shade, np.uint8))
    return root


def film(path: Path, frames: int = 30) -> Path:
    """Write a video in which frame k shows a bar at column 2k."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (128, 48))
    for k in range(frames):
        image = np.zeros((48, 128, 3), np.uint8)
        image[:, 2 * k : 2 * k + 6] = 255
        writer.write(image)
    writer.release()
    return path


def numbered(pattern: str, count: int, first: int = 1) -> list[str]:
    return [pattern % number for number in range(first, first + count)]


BOXES = [[10, 20, 30, 20], [11, 20, 30, 20], [12, 20, 30, 20]]
ONE_BASED = "11,21,30,20\n12,21,30,20\n13,21,30,20\n"
ZERO_BASED = "10,20,30,20\n11,20,30,20\n12,20,30,20\n"
CORNERS = "10,20,40,40\n11,20,41,40\n12,20,42,40\n"
VATIC = "".join(f'0 {10 + k} 20 {40 + k} 40 {k + 1} {k // 2} 0 0 "ball"\n' for k in range(3))
MOT = "".join(f"{k + 1},7,{11 + k},21,30,20,1,1,{[1, 0, 0.5][k]}\n" for k in range(3))
POLYGONS = "".join(f"{10 + k},20,{40 + k},20,{40 + k},40,{10 + k},40\n" for k in range(3))
OURS = "frame,x,y,w,h\n0,10,20,30,20\n1,11,20,30,20\n2,12,20,30,20\n"

# layout: its files, its images, and what it says of class and visibility
MINIATURES: dict[str, tuple[Files, list[str], str, list[bool]]] = {
    "got10k": (
        {"train/a/groundtruth.txt": ZERO_BASED, "train/a/absence.label": "0\n1\n0\n"},
        numbered("train/a/%08d.jpg", 3),
        "",
        [True, False, True],
    ),
    "lasot": (
        {
            "ball/ball-2/groundtruth.txt": ONE_BASED,
            "ball/ball-2/full_occlusion.txt": "0,1,0",
            "ball/ball-2/out_of_view.txt": "0,0,1",
        },
        numbered("ball/ball-2/img/%08d.jpg", 3),
        "ball",
        [True, False, False],
    ),
    "trackingnet": (
        {"TRAIN_0/anno/abcdefghijk_0.txt": ZERO_BASED},
        numbered("TRAIN_0/frames/abcdefghijk_0/%d.jpg", 3, first=0),
        "",
        [True] * 3,
    ),
    "otb": (
        {"Ball/groundtruth_rect.txt": ONE_BASED.replace(",", "\t")},
        numbered("Ball/img/%04d.jpg", 3),
        "",
        [True] * 3,
    ),
    "uav123": (
        {"anno/UAV123/boat2.txt": ONE_BASED.replace("12,21,30,20", "NaN,NaN,NaN,NaN")},
        numbered("data_seq/UAV123/boat2/%06d.jpg", 3),
        "boat",
        [True, False, True],
    ),
    "nfs": (
        {"ball/30/ball.txt": VATIC},
        numbered("ball/30/ball/%05d.jpg", 3),
        "ball",
        [True, True, False],
    ),
    "vot": (
        {"ball/groundtruth.txt": POLYGONS},
        numbered("ball/color/%08d.jpg", 3),
        "",
        [True] * 3,
    ),
    "mot": ({"V/gt/gt.txt": MOT}, numbered("V/img1/%06d.jpg", 3), "pedestrian", [True, False, True]),
    "tld": (
        {"ball/gt.txt": CORNERS.replace("11,20,41,40", "NaN,NaN,NaN,NaN")},
        numbered("ball/%05d.jpg", 3),
        "",
        [True, False, True],
    ),
    "simple": (
        {"ball/boxes.csv": OURS, "ball/class.txt": "ball\n"},
        numbered("ball/frames/%03d.jpg", 3),
        "ball",
        [True] * 3,
    ),
}  # fmt: skip


@pytest.mark.parametrize("packed", [False, True], ids=["loose", "packed"])
@pytest.mark.parametrize("layout", MINIATURES)
def test_a_layout_is_told_and_read_by_its_own_convention(
    layout: str, packed: bool, tmp_path: Path
) -> None:
    files, images, label, visible = MINIATURES[layout]
    root = lay(tmp_path / "set", files, *images)
    if packed:
        with tarfile.open(tmp_path / "s.tar", "w") as tar:
            for part in sorted(root.iterdir()):
                tar.add(part, part.name)
        root = tmp_path / "packed"
        root.mkdir()
        (tmp_path / "s.tar").rename(root / "s.tar")

    (found,) = footage.find(root)
    table = footage.read_all(root)

    assert found.layout == layout
    assert {name: str(table[name].dtype) for name in COLUMNS} == COLUMNS
    assert table["visible"].tolist() == visible
    assert table[BOX].to_numpy()[visible].tolist() == [
        b for b, v in zip(BOXES, visible, strict=True) if v
    ]
    assert set(table["class"]) == {label}
    assert table["frame"].tolist() == [0, 1, 2]
    assert table["line"].tolist() == ([2, 3, 4] if layout == "simple" else [1, 2, 3])
    assert set(table["width"]) == {64}
    places = (table[column].tolist() for column in ("image", "offset", "bytes"))
    for image, *place in zip(images, *places, strict=True):
        data = read_bytes(root, *place)
        assert data == (tmp_path / "set" / image).read_bytes()


def test_a_layout_can_be_named(tmp_path: Path) -> None:
    lay(tmp_path, MINIATURES["otb"][0], *MINIATURES["otb"][1])
    assert footage.find(tmp_path, Data(layout="dtb70"))[0].layout == "dtb70"
    with pytest.raises(DataError, match="holds no sequence"):
        footage.find(tmp_path, Data(layout="mot"))


@pytest.mark.parametrize("depth", ["", "Ball/"])
def test_one_sequence_alone_is_a_data_set(depth: str, tmp_path: Path) -> None:
    root = lay(tmp_path / "Ball", MINIATURES["otb"][0], *MINIATURES["otb"][1])
    (found,) = footage.find(root / depth)
    assert found.clip.name == "Ball"


def test_data_sets_lie_side_by_side(tmp_path: Path) -> None:
    for layout, (files, images, _, _) in MINIATURES.items():
        lay(tmp_path / layout, files, *images)
    table = footage.read_all(tmp_path)
    assert set(table["dataset"]) == set(MINIATURES)
    assert len(table) == 3 * len(MINIATURES)
    assert table["sequence"].nunique() == len(MINIATURES)


def test_splits_at_the_top_and_other_data_sets_beside_them(world: Path, tmp_path: Path) -> None:
    lay(tmp_path / "mine", MINIATURES["otb"][0], *MINIATURES["otb"][1])
    for split in ("train", "val", "test"):
        (tmp_path / split).mkdir()
        for file in (world / split).iterdir():
            (tmp_path / split / file.name).write_bytes(file.read_bytes())
    counts = footage.read_all(tmp_path).groupby("dataset").size()
    assert counts.to_dict() == {tmp_path.name: 260, "mine": 3}


def test_a_folder_that_mixes_layouts_is_parted(tmp_path: Path) -> None:
    lay(tmp_path / "all/x", MINIATURES["otb"][0], *MINIATURES["otb"][1])
    lay(tmp_path / "all/y", MINIATURES["mot"][0], *MINIATURES["mot"][1])
    assert {f.dataset for f in footage.find(tmp_path)} == {"all/x", "all/y"}


def test_equal_names_in_two_data_sets_get_the_data_set_in_front(tmp_path: Path) -> None:
    for place in ("x", "y"):
        lay(tmp_path / place, MINIATURES["otb"][0], *MINIATURES["otb"][1])
    assert {f.clip.name for f in footage.find(tmp_path)} == {"x-Ball", "y-Ball"}


def test_footage_without_a_split_is_spread_by_name_and_stays_where_it_is(tmp_path: Path) -> None:
    names = [f"Ball{k:02}" for k in range(60)]
    for name in names:
        lay(tmp_path / name, {"groundtruth_rect.txt": ONE_BASED})
    first = {f.clip.name: f.clip.split for f in footage.find(tmp_path)}
    for name in names[30:]:
        (tmp_path / name / "groundtruth_rect.txt").unlink()
    second = {f.clip.name: f.clip.split for f in footage.find(tmp_path)}
    assert set(first.values()) == {"train", "val", "test"}
    assert second.items() <= first.items()
    everything = Data(split=Shares(0, 0, 1))
    assert {f.clip.split for f in footage.find(tmp_path, everything)} == {"test"}


def test_targets_of_one_video_stay_in_one_split(tmp_path: Path) -> None:
    rows = [f"1,{target},{target},1,5,5,1,1,1" for target in range(1, 40)]
    lay(tmp_path, {"V/gt/gt.txt": "\n".join(rows)}, "V/img1/000001.jpg")
    assert footage.read_all(tmp_path)["split"].nunique() == 1


@pytest.mark.parametrize("pattern", ["set/Ball", "Ball", "set/*", "B*"])
def test_classes_come_from_a_map_where_the_layout_has_none(pattern: str, tmp_path: Path) -> None:
    root = lay(tmp_path / "set", MINIATURES["otb"][0])
    settings = Data(classes=("toy",), class_map={"nothing*": "toy", pattern: "toy"})
    assert set(footage.read_all(root, settings)["class"]) == {"toy"}


def test_a_layouts_own_class_is_translated(tmp_path: Path) -> None:
    root = lay(tmp_path / "set", MINIATURES["mot"][0])
    settings = Data(class_map={"pedestrian": "person"})
    assert set(footage.read_all(root, settings)["class"]) == {"person"}


def test_otb_rows_may_be_of_several_targets(tmp_path: Path) -> None:
    files = {f"Jog/groundtruth_rect.{k}.txt": ONE_BASED for k in (1, 2)}
    lay(tmp_path, files, *numbered("Jog/img/%04d.jpg", 3))
    assert [f.clip.name for f in footage.find(tmp_path)] == ["Jog-1", "Jog-2"]


def test_a_part_of_a_uav_video_starts_in_the_middle(tmp_path: Path) -> None:
    images = numbered("data_seq/truck4/%06d.jpg", 3, first=575)
    lay(tmp_path, {"anno/truck4_2.txt": ONE_BASED[:12]}, *images, "data_seq/truck4/001000.jpg")
    assert footage.read_all(tmp_path)["image"].tolist() == ["data_seq/truck4/000577.jpg"]


def test_nfs_rows_at_240_frames_a_second_are_thinned(tmp_path: Path) -> None:
    rows = "".join(f'0 {k} 20 {30 + k} 40 {k + 1} 0 0 0 "ball"\n' for k in range(24))
    lay(tmp_path, {"ball/30/ball.txt": rows}, *numbered("ball/30/ball/%05d.jpg", 3))
    table = footage.read_all(tmp_path)
    assert table["x"].tolist() == [0, 8, 16]
    assert table["line"].tolist() == [1, 9, 17]


def test_mot_targets_are_absent_where_they_have_no_row(tmp_path: Path) -> None:
    rows = "2,5,11,21,9,9,1,1,1\n4,5,13,21,9,9,1,1,1\n3,6,1,1,9,9,0,8,1\n"
    lay(tmp_path, {"V/gt/gt.txt": rows}, *numbered("V/img1/%06d.jpg", 5))
    table = footage.read_all(tmp_path)
    assert table["sequence"].unique().tolist() == ["V-0005"]  # 6 is not counted
    assert table["visible"].tolist() == [True, False, True]
    assert table["frame"].tolist() == [0, 1, 2]
    assert table["image"].tolist() == numbered("V/img1/%06d.jpg", 3, first=2)


def test_mot_says_what_its_meta_file_says(tmp_path: Path) -> None:
    info = "[Sequence]\nimWidth=100\nimHeight=48\nseqLength=600\n"
    lay(tmp_path, {"V/gt/gt.txt": MOT, "V/seqinfo.ini": info}, *numbered("V/img1/%06d.jpg", 3))
    row = footage.read_all(tmp_path).iloc[0]
    assert row[["stated_width", "stated_height", "stated_frames"]].tolist() == [100, 48, 600]


@pytest.mark.parametrize(
    ("mode", "values", "names"),
    [("L", (0, 255), ["cat"]), ("P", (0, 1, 2, 255), ["cat-1", "cat-2"])],
)
def test_davis_masks_become_boxes(
    mode: str, values: tuple[int, ...], names: list[str], tmp_path: Path
) -> None:
    from PIL import Image

    lay(tmp_path, {}, *numbered("JPEGImages/480p/cat/%05d.jpg", 2, first=0))
    (tmp_path / "Annotations/480p/cat").mkdir(parents=True)
    for frame in range(2):
        mask = np.zeros((48, 64), np.uint8)
        for place, value in enumerate(values[1:] if frame == 0 else values[1:2]):
            mask[5:15, 10 * place : 10 * place + 7] = value
        picture = Image.fromarray(mask, "L")
        if mode == "P":
            picture = picture.convert("P")
            picture.putdata(mask.ravel())
        picture.save(tmp_path / f"Annotations/480p/cat/{frame:05d}.png")
    table = footage.read_all(tmp_path)
    assert table["sequence"].unique().tolist() == names
    assert table[BOX].iloc[0].tolist() == [0, 5, 7, 10]
    last = table[table["sequence"] == names[-1]]
    assert last["visible"].tolist() == [True, len(names) == 1]


def bar(image: np.ndarray) -> int:
    """The number of the film's frame, read off the place of its bar."""
    return round((float(np.flatnonzero(image[..., 0].mean(axis=0) > 128).mean()) - 2.5) / 2)


@pytest.mark.parametrize("beside", ["tld", "boxes", "named"])
def test_a_video_is_read_without_extracting_it(beside: str, tmp_path: Path) -> None:
    video = film(tmp_path / "ball/ball.mp4")
    corners = "".join(f"{2 * k},0,{2 * k + 6},48\n" for k in range(30))
    ours = "frame,x,y,w,h\n" + "".join(f"{k},{2 * k},0,6,48\n" for k in range(30))
    file = {"tld": "gt.txt", "boxes": "boxes.csv", "named": "ball.csv"}[beside]
    (video.parent / file).write_text(corners if beside == "tld" else ours)
    before = sorted(tmp_path.rglob("*"))

    table = footage.read_all(tmp_path)
    sequence = next(iterate(table, table["split"].iloc[0]))
    frames = Frames(tmp_path, cache_mb=0)
    order = [*range(30), 3, 29, 0, 17, 16, 15, 28, 1]

    assert [bar(frames(sequence, k)) for k in order] == order
    assert table["image"].iloc[17] == "ball/ball.mp4/00000017"
    assert table[["width", "height"]].iloc[0].tolist() == [128, 48]
    assert sorted(tmp_path.rglob("*")) == before
    encoded = read_bytes(tmp_path, table["image"].iloc[9], int(table["offset"].iloc[9]), 0)
    assert bar(decode(encoded, "")) == 9


def test_a_video_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    lay(tmp_path, {"ball/boxes.csv": OURS, "ball/ball.mp4": "no video"})
    with pytest.raises(DataError, match=r"ball\.mp4 holds no frame that can be decoded"):
        footage.read_all(tmp_path)


def test_frames_beyond_the_tables_end_are_rows_without_a_line(tmp_path: Path) -> None:
    lay(tmp_path, {"ball/boxes.csv": OURS}, *numbered("ball/%03d.jpg", 4, first=0))
    table = footage.read_all(tmp_path)
    assert table["line"].tolist() == [2, 3, 4, 0]
    assert table["bytes"].gt(0).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y,w,h\n1,2,3,4\n", "no column frame; its first line names them"),
        ("frame,x,y,w,h\nfirst,1,2,3,4\n", "names the frame 'first'"),
        ("frame,x,y,w,h\n1e12,1,2,3,4\n", "names the frame '1e12'"),
    ],
)
def test_our_own_table_says_what_it_lacks(text: str, message: str, tmp_path: Path) -> None:
    lay(tmp_path, {"ball/boxes.csv": text}, "ball/000.jpg")
    with pytest.raises(DataError, match=message):
        footage.read_all(tmp_path)


def test_absent_rows_of_our_own_table(tmp_path: Path) -> None:
    text = "frame,x,y,w,h,visible\n0,1,2,3,4,1\n1,,,,,\n2,1,2,3,4,0\n3,1,2,x,4,1\n"
    lay(tmp_path, {"ball/boxes.csv": text}, *numbered("ball/%03d.jpg", 4, first=0))
    assert footage.read_all(tmp_path)["visible"].tolist() == [True, False, False, True]


def test_images_that_no_layout_claims_are_counted(tmp_path: Path) -> None:
    lay(tmp_path, MINIATURES["otb"][0], *MINIATURES["otb"][1], "extra/1.jpg", "extra/2.jpg")
    found = footage.find(tmp_path)
    left = footage.find_left_over(found[0].tree, [f.clip for f in found])
    assert left == {"extra": 2}


def test_reading_does_not_depend_on_the_order_of_the_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    for layout in ("otb", "mot", "simple"):
        lay(tmp_path / layout, MINIATURES[layout][0], *MINIATURES[layout][1])
    walk: Callable[..., object] = os.walk

    def backwards(*args: object, **options: object) -> object:
        for parent, folders, files in walk(*args, **options):  # type: ignore[attr-defined]
            folders.reverse()
            yield parent, folders, files[::-1]

    first = footage.read_all(tmp_path)
    monkeypatch.setattr(os, "walk", backwards)
    pd.testing.assert_frame_equal(footage.read_all(tmp_path), first)
