"""Tracking: lock-step batches say what single streams say, and bad boxes are refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from trackline.config import Backbone, ClassHead, Crop, Elimination, History, Model, Quirk, Track
from trackline.data import table
from trackline.data.frames import Frames, Shrunk, encode
from trackline.data.table import Sequence
from trackline.errors import BoxError
from trackline.models.backbone import Features
from trackline.models.network import Network
from trackline.tracking.batch import track_sequences
from trackline.tracking.tracker import Tracker, check_box

MODEL = Model(
    template=Crop(32, 2.0),
    search=Crop(64, 3.0),
    backbone=Backbone(patch=16, width=24, depth=2, heads=3),
    elimination=Elimination(layers=(1,), keep=(0.7,)),
    history=History(key_width=8, stem_width=4, capacity=2, first_writes=(1, 2), interval=2),
    head_width=16,
    class_head=ClassHead(hidden=12),
)
CLASSES = ("a", "b", "c")


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    return Network(MODEL, len(CLASSES)).eval()


@pytest.fixture(scope="module")
def sequences(annotations: Path) -> list[Sequence]:
    """Sequences of unlike length, so that slots are refilled at different times."""
    whole = list(table.iterate(table.read(annotations), "test"))[:5]
    return [shorten(s, 8 - i % 3) for i, s in enumerate(whole)]


def shorten(sequence: Sequence, frames: int) -> Sequence:
    parts = ("images", "offsets", "lengths", "sizes_wh", "boxes_xywh", "visible")
    return dataclasses.replace(sequence, **{p: getattr(sequence, p)[:frames] for p in parts})


def follow(network: Network, sequences: list[Sequence], world: Path, slots: int) -> pd.DataFrame:
    tracker = Tracker(network, Track(), slots)
    return track_sequences(tracker, sequences, Frames(world), CLASSES, slots)


def test_lock_step_batches_equal_one_stream_at_a_time(
    network: Network, sequences: list[Sequence], world: Path
) -> None:
    one, many = (follow(network, sequences, world, slots) for slots in (1, 3))
    pd.testing.assert_frame_equal(one, many, rtol=1e-3, atol=1e-3)


def enlarge(sequence: Sequence, world: Path, folder: Path, times: int = 6) -> Sequence:
    """The same footage in JPEG files of many times its width and height."""
    frames, names = Frames(world), []
    for i in range(len(sequence)):
        image = cv2.resize(frames(sequence, i), None, fx=times, fy=times)
        names.append(f"{sequence.name}-{i}.jpg")
        (folder / names[-1]).write_bytes(encode(image))
    return dataclasses.replace(
        sequence,
        images=tuple(names),
        offsets=np.full(len(names), -1),
        sizes_wh=sequence.sizes_wh * times,
        boxes_xywh=sequence.boxes_xywh * times,
    )


@pytest.fixture(scope="module")
def large(
    sequences: list[Sequence], world: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Sequence], Path]:
    folder = tmp_path_factory.mktemp("large")
    return [enlarge(s, world, folder) for s in sequences], folder


def test_large_images_are_shrunk_alike_in_lock_step_and_one_at_a_time(
    network: Network, large: tuple[list[Sequence], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, asked = Frames.shrink, list[int]()

    def watch(self: Frames, sequence: Sequence, frame: int, by: int) -> Shrunk:
        asked.append(by)
        return honest(self, sequence, frame, by)

    monkeypatch.setattr(Frames, "shrink", watch)
    one, many = (follow(network, *large, slots) for slots in (1, 3))
    pd.testing.assert_frame_equal(one, many, rtol=1e-3, atol=1e-2)
    assert {2, 4} & set(asked)


@pytest.mark.parametrize("by", [2, 4])
def test_a_shrunk_image_gives_about_the_same_box(
    network: Network, large: tuple[list[Sequence], Path], by: int
) -> None:
    (sequence, *_), folder = large
    frames, boxes = Frames(folder), []
    for image in (frames(sequence, 1), frames.shrink(sequence, 1, by)):
        tracker = Tracker(network, Track())
        tracker.start(0, frames(sequence, 0), sequence.boxes_xywh[0])
        boxes.append(tracker.step([0], [image])[0].box_xywh)
    assert frames.shrink(sequence, 1, by).pixels.shape[1] * by == sequence.sizes_wh[1, 0]
    side = np.sqrt(sequence.boxes_xywh[0, 2:].prod())
    np.testing.assert_allclose(boxes[0], boxes[1], atol=0.05 * side)


def test_small_targets_need_every_pixel(
    network: Network, large: tuple[list[Sequence], Path]
) -> None:
    (sequence, *_), folder = large
    tracker, image = Tracker(network, Track()), Frames(folder)(sequence, 0)
    by = {}
    for side in (20, 52, 54, 110, 220):  # a region of 3 sides fills 1.25 × 64 pixels from 26.7 on
        tracker.start(0, image, np.array([300, 300, side, side]))
        by[side] = tracker.find_shrink(0)
    assert by == {20: 1, 52: 1, 54: 2, 110: 4, 220: 8}


def test_every_frame_has_a_row_and_the_first_holds_the_given_box(
    network: Network, sequences: list[Sequence], world: Path
) -> None:
    rows = follow(network, sequences, world, 2)
    assert len(rows) == sum(len(s) for s in sequences)
    first = rows[rows["frame"] == 0].set_index("sequence")
    for s in sequences:
        np.testing.assert_allclose(first.loc[s.name, table.BOX].astype(float), s.boxes_xywh[0])
    np.testing.assert_allclose(rows[[f"p_{c}" for c in CLASSES]].sum(axis=1), 1, rtol=1e-5)
    assert rows.loc[rows["frame"] > 0, "confidence"].between(0, 1).all()


def test_boxes_stay_in_the_image(network: Network, sequences: list[Sequence], world: Path) -> None:
    rows = follow(network, sequences, world, 2)
    assert (rows["x"] >= 0).all()
    assert (rows["x"] + rows["w"] <= sequences[0].sizes_wh[0, 0] + 1e-6).all()
    assert (rows[["w", "h"]] >= Track().clip_margin_px - 1e-9).all(axis=None)


def test_a_size_goes_only_part_of_the_way_to_what_the_network_says(
    network: Network, sequences: list[Sequence], world: Path
) -> None:
    """In log scale. Only the first step is compared: there all rates look at the same crop."""
    (sequence,), frames = sequences[:1], Frames(world)
    first = sequence.boxes_xywh[0]

    def step(rate: float) -> np.ndarray[Any, Any]:
        tracker = Tracker(network, Track(clip_margin_px=0, scale_lr=rate))
        tracker.start(0, frames(sequence, 0), first)
        (result,) = tracker.step([0], [frames(sequence, 1)])
        return result.box_xywh

    free, damped, held = step(1), step(0.25), step(0)
    np.testing.assert_allclose(held[2:], first[2:], rtol=1e-5)
    assert not np.allclose(free[2:], first[2:], rtol=0.01)
    np.testing.assert_allclose(damped[2:], first[2:] ** 0.75 * free[2:] ** 0.25, rtol=1e-5)
    np.testing.assert_allclose(damped[:2] + damped[2:] / 2, free[:2] + free[2:] / 2, rtol=1e-5)


def test_another_template_gives_another_track(
    network: Network, sequences: list[Sequence], world: Path
) -> None:
    tracker, frames = Tracker(network, Track(), 2), Frames(world)
    looks = {s.name: sequences[i - 1] for i, s in enumerate(sequences)}
    own = track_sequences(tracker, sequences, frames, CLASSES, 2)
    swapped = track_sequences(tracker, sequences, frames, CLASSES, 2, looks)
    assert not np.allclose(own[["x", "y"]], swapped[["x", "y"]])


def test_a_second_start_forgets_the_first_stream(
    network: Network, sequences: list[Sequence], world: Path
) -> None:
    """The same stream after another sequence gives what a fresh tracker gives."""
    tracker, frames = Tracker(network, Track(), 1), Frames(world)
    track_sequences(tracker, sequences[:1], frames, CLASSES, 1)
    used = track_sequences(tracker, sequences[1:2], frames, CLASSES, 1)
    pd.testing.assert_frame_equal(used, follow(network, sequences[1:2], world, 1))


def mimic(network: Network, *quirks: Quirk) -> Network:
    """The same weights with some of the reference's quirks."""
    roomy = dataclasses.replace(MODEL.history, capacity=8)
    model = dataclasses.replace(MODEL, history=roomy, reference_compat=quirks)
    copy = Network(model, len(CLASSES)).eval()
    copy.load_state_dict(network.state_dict())
    return copy


def test_the_reference_s_memory_outlives_its_sequence(
    network: Network, sequences: list[Sequence], world: Path
) -> None:
    quirky, frames = mimic(network, "bank"), Frames(world)
    tracker = Tracker(quirky, Track(), 1)
    track_sequences(tracker, sequences[:1], frames, CLASSES, 1)
    written = tracker.memory.written[0]
    used = track_sequences(tracker, sequences[1:2], frames, CLASSES, 1)
    assert tracker.memory.written[0] > written
    fresh = follow(quirky, sequences[1:2], world, 1)
    assert not np.allclose(used["confidence"], fresh["confidence"])


@pytest.mark.parametrize("quirks", [(), ("memory_box",)])
def test_the_box_that_is_remembered_is_the_box_that_is_reported(
    network: Network,
    sequences: list[Sequence],
    world: Path,
    monkeypatch: pytest.MonkeyPatch,
    quirks: tuple[Quirk, ...],
) -> None:
    """The reference remembers the one before the window."""
    copy, remembered = mimic(network, *quirks), list[Tensor]()
    write = copy.write_frame

    def watch(searches: Tensor, features: Features, boxes_cxcywh: Tensor) -> Any:
        remembered.append(boxes_cxcywh)
        return write(searches, features, boxes_cxcywh)

    monkeypatch.setattr(copy, "write_frame", watch)
    tracker = Tracker(copy, Track(), 1)
    tracker.window = torch.zeros_like(tracker.window)
    tracker.window[0, 0] = 1  # a window that only the upper left cell passes
    track_sequences(tracker, sequences[:1], Frames(world), CLASSES, 1)
    in_the_corner = (remembered[0][0, :2] < 0.5 / copy.backbone.grid_x + 0.25).all()
    assert bool(in_the_corner) == (quirks == ())


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([200, 10, 20, 20], "box 200,10,20,20 lies outside the image of 160x120"),
        ([-30, 10, 20, 20], "lies outside"),
        ([10, 10, 0, 20], "has no area"),
        ([10, 10, float("nan"), 20], "has no area"),
    ],
)
def test_a_box_that_cannot_be_followed_is_refused(box: list[float], message: str) -> None:
    with pytest.raises(BoxError, match=message):
        check_box(np.array(box), 160, 120)
