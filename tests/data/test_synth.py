"""The synthetic world: same bytes again, GOT-10k's layout, boxes that fit."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

from trackline.data.motion import extent
from trackline.data.shapes import CLASSES, KINDS, Pixels, Points
from trackline.data.sprites import ZOOM, trace, visible_box, warp
from trackline.data.synth import DEFAULT, cover_level, seed_stream, stage, synthesise

SMALL: Mapping[str, tuple[int, int]] = {"train": (4, 8), "val": (2, 6), "test": (3, 6)}
SIZE = (160, 120)
LABELS = ("absence.label", "cover.label", "cut_by_image.label")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small world, written once."""
    root = tmp_path_factory.mktemp("synth") / "world"
    return synthesise(root, sequences=SMALL, progress=False)


def contents(root: Path) -> dict[str, bytes]:
    """Every file below a folder, by its relative path."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def unpack(split: Path) -> dict[str, dict[str, bytes]]:
    """The files of each sequence of a split."""
    sequences: dict[str, dict[str, bytes]] = {}
    for shard in sorted(split.glob("shard-*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                folder, name = member.name.split("/")
                data = tar.extractfile(member)
                assert data is not None
                sequences.setdefault(folder, {})[name] = data.read()
    return sequences


def read_boxes(files: Mapping[str, bytes]) -> Points:
    """Corner boxes (T, 4) of a sequence."""
    rows = [line.split(",") for line in files["groundtruth.txt"].decode().splitlines()]
    boxes = np.array(rows, dtype=np.float64)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def read_labels(files: Mapping[str, bytes], name: str) -> list[int]:
    """The whole numbers of a label file."""
    return [int(line) for line in files[name].decode().splitlines()]


def draw_mask(split: str, index: int, frame: int) -> tuple[Pixels, Points]:
    """The target's alpha (ZOOM H, ZOOM W) drawn without blur, and its analytic box."""
    scene = stage(0, split, index, SMALL[split][1], SIZE)
    target = scene.actors[scene.target]
    alpha = np.zeros((SIZE[1] * ZOOM, SIZE[0] * ZOOM), dtype=np.float32)
    layer, rows, columns = warp(target, frame, 0.0, alpha)
    alpha[rows, columns] = layer[..., 3]
    return alpha, visible_box(trace(target, frame), np.array(SIZE, dtype=np.float64))


def test_same_seed_gives_the_same_bytes(tiny: Path, tmp_path: Path) -> None:
    again = synthesise(tmp_path / "again", sequences=SMALL, progress=False)
    assert contents(again) == contents(tiny)


def test_another_seed_gives_other_frames(tiny: Path, tmp_path: Path) -> None:
    other = synthesise(tmp_path / "other", seed=1, sequences={"val": (1, 2)}, progress=False)
    one, two = unpack(tiny / "val"), unpack(other / "val")
    name = "synth_val_000000"
    assert one[name]["00000001.jpg"] != two[name]["00000001.jpg"]


def test_lists_name_the_sequences_of_the_shards_in_order(tiny: Path) -> None:
    for split, (count, _) in SMALL.items():
        names = (tiny / split / "list.txt").read_text().splitlines()
        assert names == list(unpack(tiny / split))
        assert len(names) == count


def test_every_frame_has_an_image_and_a_row(tiny: Path) -> None:
    for split, (_, frames) in SMALL.items():
        for files in unpack(tiny / split).values():
            images = sorted(name for name in files if name.endswith(".jpg"))
            assert images == [f"{number:08d}.jpg" for number in range(1, frames + 1)]
            assert read_boxes(files).shape == (frames, 4)
            assert {len(read_labels(files, name)) for name in LABELS} == {frames}
            image = cv2.imdecode(np.frombuffer(files[images[0]], np.uint8), cv2.IMREAD_COLOR)
            assert image is not None
            assert image.shape == (SIZE[1], SIZE[0], 3)


def test_meta_info_names_class_and_resolution(tiny: Path) -> None:
    for index, files in enumerate(unpack(tiny / "train").values()):
        lines = files["meta_info.ini"].decode().splitlines()
        assert lines[0] == "[METAINFO]"
        assert f"object_class: {CLASSES[index % len(CLASSES)]}" in lines
        assert "resolution: (160, 120)" in lines


def test_boxes_lie_in_the_image_and_absent_rows_agree(tiny: Path) -> None:
    for split in SMALL:
        for files in unpack(tiny / split).values():
            boxes, absent = read_boxes(files), np.array(read_labels(files, "absence.label"))
            cover = np.array(read_labels(files, "cover.label"))
            assert ((cover == 0) == (absent == 1)).all()
            assert (boxes[absent == 1] == 0).all()
            assert (boxes >= 0).all()
            assert (boxes[:, 2:] <= np.array(SIZE) + 1e-9).all()
            assert (boxes[absent == 0, 2:] > boxes[absent == 0, :2]).all()
            assert cover[0] == 8


@pytest.mark.parametrize("index", range(4))
def test_boxes_are_tight_around_the_silhouette(index: int) -> None:
    for frame in (0, 3, 7):
        alpha, box = draw_mask("train", index, frame)
        rows, columns = np.nonzero(alpha > 0.3)
        if len(rows) == 0:
            continue
        low = np.array([columns.min(), rows.min()]) / ZOOM
        high = (np.array([columns.max(), rows.max()]) + 1) / ZOOM
        np.testing.assert_allclose(box, [*low, *high], atol=1.0)


def test_visible_box_of_a_square_across_the_border() -> None:
    square = np.array([[-5.0, 10.0], [15.0, 10.0], [15.0, 30.0], [-5.0, 30.0]])
    np.testing.assert_allclose(visible_box([square], np.array([20.0, 25.0])), [0, 10, 15, 25])
    assert (visible_box([square - 100.0], np.array([20.0, 25.0])) == 0).all()


@pytest.mark.parametrize(
    ("visible", "level"), [(0.0, 0), (0.1, 1), (0.2, 2), (0.5, 4), (0.95, 7), (1.0, 8)]
)
def test_cover_levels_are_those_of_got10k(visible: float, level: int) -> None:
    assert cover_level(visible) == level


def test_splits_share_neither_chance_nor_images(tiny: Path) -> None:
    draws = {split: float(seed_stream(0, split, 0, 0).uniform()) for split in DEFAULT}
    assert len(set(draws.values())) == len(draws)
    firsts = [files["00000001.jpg"] for split in SMALL for files in unpack(tiny / split).values()]
    assert len(set(firsts)) == len(firsts)


@pytest.mark.parametrize("kind", CLASSES)
def test_objects_have_all_three_tones(kind: str) -> None:
    parts = KINDS[kind](np.random.default_rng(0))
    assert {part.tone for part in parts} == {0, 1, 2}
    box = extent(np.concatenate([c for part in parts for c in part.contours]))
    assert 0.5 < (box[2] - box[0]) / (box[3] - box[1]) < 2.0


def test_default_classes_are_balanced() -> None:
    assert len(CLASSES) == 10
    assert all(count % len(CLASSES) == 0 for count, _ in DEFAULT.values())


def test_a_full_target_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("precious")
    with pytest.raises(ValueError, match="not empty"):
        synthesise(tmp_path, sequences={"val": (1, 2)}, progress=False)
    assert (tmp_path / "kept.txt").exists()


def test_force_replaces_the_target_folder(tmp_path: Path) -> None:
    root = tmp_path / "world"
    root.mkdir()
    (root / "old.txt").write_text("old")
    synthesise(root, sequences={"val": (2, 2)}, size=(80, 60), force=True, progress=False)
    assert sorted(path.name for path in root.iterdir()) == ["val"]
    assert [path.name for path in tmp_path.iterdir()] == ["world"]
