"""Clips: causal, reversed half of the time, and decided by (seed, epoch, index) alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from trackline import config
from trackline.config import Augment, Jitter
from trackline.data import sampling, table
from trackline.data.clips import ClipLoader, prepare
from trackline.data.frames import Frames
from trackline.data.sampling import ClipSampler, displace, draw_frames, mix
from trackline.errors import ConfigError

MODEL = config.Model(template=config.Crop(32, 2.0), search=config.Crop(48, 3.0))
TRAIN = config.Train(batch=4, search_frames=3, max_gap=3, jitter=Jitter(1.0, 0.1))
CLASSES = ("boat", "butterfly", "car", "fish", "key", "mug", "person", "plane", "star", "umbrella")


@pytest.fixture(scope="module")
def sampler(world: Path, annotations: Path) -> ClipSampler:
    sequences = list(table.iterate(table.read(annotations), "train"))
    return ClipSampler(sequences, Frames(world), CLASSES, MODEL, TRAIN)


def test_frames_are_in_order_or_reversed_and_within_the_gap() -> None:
    usable = np.array([0, 1, 2, 4, 5, 9, 10, 11, 12, 20])
    forwards = 0
    for seed in range(200):
        drawn = draw_frames(np.random.default_rng(seed), usable, 4, max_gap=3)
        places = [int(np.flatnonzero(usable == frame)[0]) for frame in drawn]
        steps = np.diff(places)
        assert (steps > 0).all() or (steps < 0).all()
        assert (abs(steps) <= 3).all()
        forwards += bool(steps[0] > 0)
    assert 70 < forwards < 130  # a fair coin leaves this range once in 20 000 tries


def test_every_usable_frame_is_drawn_sometimes() -> None:
    usable = np.arange(6)
    drawn = {
        f for seed in range(100) for f in draw_frames(np.random.default_rng(seed), usable, 4, 9)
    }
    assert drawn == set(range(6))


def test_a_short_sequence_repeats_frames_and_never_hangs() -> None:
    assert set(draw_frames(np.random.default_rng(0), np.array([7]), 4, 5)) == {7}


def test_displacement_stays_within_half_the_jitter() -> None:
    box = np.array([10.0, 10, 4, 9])
    for seed in range(50):
        moved = displace(np.random.default_rng(seed), box, Jitter(centre=2.0, scale=0.0))
        np.testing.assert_allclose(moved[2:], box[2:])
        assert (abs(moved[:2] - box[:2]) <= 6.0).all()  # √36 · 2 / 2


def test_no_jitter_leaves_the_box_alone() -> None:
    box = np.array([10.0, 10, 4, 9])
    np.testing.assert_allclose(displace(np.random.default_rng(0), box, Jitter(0.0, 0.0)), box)


def test_absent_frames_are_never_used(sampler: ClipSampler) -> None:
    for sequence, usable in sampler.usable:
        assert sequence.visible[usable].all()
        assert (sequence.boxes_xywh[usable, 2:] > 0).all()


def test_the_target_is_in_its_crops(sampler: ClipSampler) -> None:
    clip = sampler(0, 3)
    assert clip.template_hw3.shape == (32, 32, 3)
    assert clip.searches_thw3.shape == (3, 48, 48, 3)
    centre = clip.template_box_xywh[:2] + clip.template_box_xywh[2:] / 2
    np.testing.assert_allclose(centre, 0.5, atol=0.03)
    centres = clip.boxes_t4[:, :2] + clip.boxes_t4[:, 2:] / 2
    assert ((centres > 0) & (centres < 1)).all()


def test_clips_have_one_search_frame_until_the_history_starts(sampler: ClipSampler) -> None:
    start = replace(sampler.train, search_frames=2, history_start_epoch=3)
    sampler = ClipSampler(
        [s for s, _ in sampler.usable], sampler.frames, list(sampler.labels), sampler.model, start
    )
    assert [len(sampler(epoch, 0).searches_thw3) for epoch in (0, 2, 3, 9)] == [1, 1, 2, 2]


def test_data_sets_are_mixed_by_ratio_however_long_they_are(sampler: ClipSampler) -> None:
    """15 sequences of one data set, 3 of another that shall have a quarter, 2 that shall have nothing."""
    names = ["large"] * 15 + ["small"] * 3 + ["idle"] * 2
    known = [s for s, _ in sampler.usable][: len(names)]
    sequences = [
        replace(s, dataset=name, label=CLASSES[("large", "small", "idle").index(name)])
        for s, name in zip(known, names, strict=True)
    ]
    train = replace(sampler.train, mix={"large": 3, "small": 1, "idle": 0}, search_frames=1)
    mixed = ClipSampler(sequences, sampler.frames, CLASSES, sampler.model, train)
    drawn = [mixed(0, index).label for index in range(400)]
    assert drawn.count(2) == 0
    assert 70 < drawn.count(1) < 130  # a quarter of 400, within 3.5 standard deviations


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"lasot": 1.0}, "'lasot', which has no training sequence; the data sets are data"),
        ({"data": 1.0, "otb": 1.0}, "'otb', which has no training sequence"),
    ],
)
def test_a_mix_of_what_is_not_there_is_refused(
    shares: dict[str, float], message: str, sampler: ClipSampler
) -> None:
    train = replace(sampler.train, mix=shares)
    with pytest.raises(ConfigError, match=message):
        ClipSampler([s for s, _ in sampler.usable], sampler.frames, CLASSES, MODEL, train)


def test_a_mix_names_every_data_set() -> None:
    assert [(s, p.tolist()) for s, p in mix(["a", "b", "a"], {"a": 2.0, "b": 0.0})] == [(2, [0, 2])]
    with pytest.raises(ConfigError, match="does not name the data set 'b'; give it a share, 0 to"):
        mix(["a", "b"], {"a": 1.0})


def test_a_clip_follows_from_its_number_alone(sampler: ClipSampler) -> None:
    first, again, other = sampler(1, 5), sampler(1, 5), sampler(2, 5)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    assert not np.array_equal(first.searches_thw3, other.searches_thw3)


def test_the_loader_gives_whole_batches_in_order_whatever_the_threads(sampler: ClipSampler) -> None:
    one, many = (list(ClipLoader(sampler, 4, threads)(0, 14)) for threads in (1, 3))
    assert len(one) == 3
    for a, b in zip(one, many, strict=True):
        assert torch.equal(a.searches, b.searches)
    np.testing.assert_array_equal(one[1].searches[2], sampler(0, 6).searches_thw3)


def test_mirroring_moves_images_and_boxes_together(sampler: ClipSampler) -> None:
    (batch,) = ClipLoader(sampler, 4, 1)(0, 4)
    plain = prepare(batch, None, torch.Generator())
    only_flips = Augment(grey=0, flip=1, brightness=0, colour=0, distractors=0)
    flipped = prepare(batch, only_flips, torch.Generator())
    torch.testing.assert_close(flipped.searches, plain.searches.flip(-1))
    torch.testing.assert_close(flipped.templates, plain.templates.flip(-1))
    x, _, w, _ = batch.boxes_xywh.unbind(-1)
    torch.testing.assert_close(flipped.boxes_xywh[..., 0], 1 - x - w)


def test_each_image_of_the_reference_is_mirrored_once_more_on_its_own(sampler: ClipSampler) -> None:
    (batch,) = ClipLoader(sampler, 16, 1)(0, 16)
    plain = prepare(batch, None, torch.Generator())
    half = Augment(grey=0, flip=0.5, brightness=0, colour=0, distractors=0)
    for double in (False, True):
        done = prepare(batch, half, torch.Generator().manual_seed(0), double)
        turned = (done.searches == plain.searches.flip(-1)).flatten(2).all(-1)
        straight = (done.searches == plain.searches).flatten(2).all(-1)
        assert (turned | straight).all()
        assert 0 < turned.float().mean() < 1
        template_turned = (done.templates == plain.templates.flip(-1)).flatten(1).all(-1)
        alike = (turned == template_turned[:, None]).all()
        assert alike != double
        x, _, w, _ = batch.boxes_xywh.unbind(-1)
        torch.testing.assert_close(done.boxes_xywh[..., 0], torch.where(turned, 1 - x - w, x))


def test_the_reference_s_crops_place_boxes_half_a_pixel_off(sampler: ClipSampler) -> None:
    model = replace(sampler.model, reference_compat=("crop",))
    quirky = ClipSampler([], sampler.frames, (), model, sampler.train)
    quirky.usable = sampler.usable
    mine, theirs = sampler(0, 3), quirky(0, 3)
    size = model.template.size
    centre = theirs.template_box_xywh[:2] + theirs.template_box_xywh[2:] / 2
    np.testing.assert_allclose(centre, (size - 1) / 2 / size, atol=1e-6)
    assert not np.allclose(mine.boxes_t4, theirs.boxes_t4, atol=1e-4)
    np.testing.assert_allclose(mine.boxes_t4, theirs.boxes_t4, atol=2 / model.search.size)


ONLY_RIVALS = Augment(grey=0, flip=0, brightness=0, colour=0, distractors=1)
BOTH = 2  # clips, so that each is the other's partner


def test_half_of_the_pasted_targets_are_the_ones_to_follow(sampler: ClipSampler) -> None:
    (batch,) = ClipLoader(sampler, 64, 1)(0, 64)
    pasted = prepare(batch, ONLY_RIVALS, torch.Generator().manual_seed(0))
    meant = (pasted.boxes_xywh != batch.boxes_xywh).flatten(1).any(1)
    assert 20 < meant.sum() < 44


def test_who_follows_the_other_s_target_has_its_template_and_label(sampler: ClipSampler) -> None:
    seen = set()
    for seed in range(8):
        (batch,) = ClipLoader(sampler, BOTH, 1)(seed, BOTH)
        batch = replace(batch, labels=torch.tensor([3, 7]))
        pasted = prepare(batch, ONLY_RIVALS, torch.Generator().manual_seed(seed))
        plain = prepare(batch, None, torch.Generator())
        for i, meant in enumerate((pasted.boxes_xywh != batch.boxes_xywh).flatten(1).any(1)):
            giver = 1 - i if meant else i
            assert torch.equal(pasted.templates[i], plain.templates[giver])
            assert torch.equal(pasted.template_boxes_xywh[i], batch.template_boxes_xywh[giver])
            assert pasted.labels[i] == batch.labels[giver]
            seen.add(bool(meant))
    assert seen == {True, False}


def test_what_is_pasted_in_is_the_other_s_target(sampler: ClipSampler) -> None:
    """The middle of the new box shows the middle of the box that it was cut from, and no other's."""
    here, there, mine = [], [], []
    for seed in range(16):
        (batch,) = ClipLoader(sampler, BOTH, 1)(seed, BOTH)
        pasted = prepare(batch, ONLY_RIVALS, torch.Generator().manual_seed(seed))
        plain = prepare(batch, None, torch.Generator())
        for i, meant in enumerate((pasted.boxes_xywh != batch.boxes_xywh).flatten(1).any(1)):
            if meant:
                here.append(sample_middle(pasted.searches[i, 0], pasted.boxes_xywh[i, 0]))
                there.append(sample_middle(plain.searches[1 - i, 0], plain.boxes_xywh[1 - i, 0]))
                mine.append(sample_middle(plain.searches[i, 0], plain.boxes_xywh[i, 0]))
    theirs, own = (torch.stack(x) - torch.stack(here) for x in (there, mine))
    assert theirs.abs().mean() < 0.5 * own.abs().mean()


def sample_middle(image_3hw: torch.Tensor, box_xywh: torch.Tensor) -> torch.Tensor:
    steps = torch.linspace(0.3, 0.7, 5)
    unit = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1)
    grid = 2 * (box_xywh[:2] + unit * box_xywh[2:]) - 1
    return torch.nn.functional.grid_sample(image_3hw[None], grid[None], align_corners=False)


def test_a_rival_that_is_not_meant_stays_behind_the_true_target(sampler: ClipSampler) -> None:
    (batch,) = ClipLoader(sampler, 64, 1)(0, 64)
    pasted = prepare(batch, ONLY_RIVALS, torch.Generator().manual_seed(0))
    plain = prepare(batch, None, torch.Generator())
    kept = (pasted.boxes_xywh == batch.boxes_xywh).flatten(1).all(1)
    changed = ((pasted.searches - plain.searches).abs().amax(2) > 1e-4)[kept]
    assert changed.flatten(2).any(-1).float().mean() > 0.8
    steps = (torch.arange(48) + 0.5) / 48
    box = batch.boxes_xywh[kept][..., None, None, :]
    across = (steps > box[..., 0]) & (steps < box[..., 0] + box[..., 2])
    down = (steps[:, None] > box[..., 1]) & (steps[:, None] < box[..., 1] + box[..., 3])
    assert not (changed & across & down).any()


def test_usable_frames_need_a_finite_box() -> None:
    boxes = np.array([[0, 0, 5, 5], [0, 0, 0, 5], [np.nan, 0, 5, 5], [1, 1, 2, 2]])
    sequence = table.Sequence(
        "s", "train", "car", ("a",) * 4, np.zeros(4), np.zeros(4), np.ones((4, 2)), boxes,
        np.array([True, True, True, False]),
    )  # fmt: skip
    assert sampling.find_usable(sequence).tolist() == [0]
