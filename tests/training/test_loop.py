"""Training: losses fall, schedules follow their formulas, and a killed run goes on exactly."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import pytest
import torch

from trackline import config
from trackline.data import table
from trackline.data.clips import ClipLoader
from trackline.data.frames import Frames
from trackline.data.sampling import ClipSampler
from trackline.models.network import Network
from trackline.training import checkpoint
from trackline.training.loop import Trainer, keep_ratio, learning_rate_scale, make_optimiser
from trackline.training.losses import Losses

QKV, SCORE = "backbone.blocks.0.attn.qkv.weight", "box_head.score.0.0.weight"


@pytest.fixture(scope="module")
def sampler(world: Path, annotations: Path, miniature: config.Params) -> ClipSampler:
    sequences = list(table.iterate(table.read(annotations), "train"))
    return ClipSampler(
        sequences, Frames(world), miniature.data.classes, miniature.model, miniature.train
    )


def make_trainer(miniature: config.Params, **changes: object) -> Trainer:
    train = dataclasses.replace(miniature.train, **changes)  # type: ignore[arg-type]
    torch.manual_seed(train.seed)
    return Trainer(Network(miniature.model, 10), train, torch.device("cpu"))


def fit(trainer: Trainer, sampler: ClipSampler, stop_after: int | None = None) -> None:
    class Stop(Exception):
        pass

    def after_epoch(trainer: Trainer) -> None:
        if trainer.epoch == stop_after:
            raise Stop

    with contextlib.suppress(Stop):
        trainer.fit(ClipLoader(sampler, trainer.config.batch, 1), after_epoch)


def test_the_losses_of_one_batch_fall(miniature: config.Params, sampler: ClipSampler) -> None:
    plain = config.Augment(grey=0, flip=0, brightness=0, colour=0, distractors=0)
    trainer = make_trainer(miniature, augment=plain)
    (batch,) = ClipLoader(sampler, 8, 1)(0, 8)
    trainer.network.train()
    losses = torch.stack([trainer.step(batch, keep=1.0) for _ in range(120)])
    first, last = Losses(*losses[:5].mean(0)), Losses(*losses[-5:].mean(0))
    assert last.total < 0.75 * first.total
    assert last.iou > first.iou + 0.15
    assert last.accuracy > 0.7


def test_an_epoch_has_the_reference_s_names(miniature: config.Params, sampler: ClipSampler) -> None:
    trainer = make_trainer(miniature, epochs=1)
    fit(trainer, sampler)
    (row,) = trainer.rows
    expected = {"Loss/total", "Loss/giou", "Loss/l1", "Loss/location", "Loss/classification"}
    assert expected | {"IoU", "Accuracy", "epoch", "samples_per_second"} <= row.keys()
    tracking = 2 * row["Loss/giou"] + 5 * row["Loss/l1"] + row["Loss/location"]
    total = tracking + trainer.config.class_weight * row["Loss/classification"]
    assert row["Loss/total"] == pytest.approx(total, rel=1e-4)


def test_training_is_reproducible(miniature: config.Params, sampler: ClipSampler) -> None:
    runs = []
    for _ in range(2):
        runs.append(make_trainer(miniature, epochs=1))
        fit(runs[-1], sampler)
    for a, b in zip(*(t.trained.state_dict().values() for t in runs), strict=True):
        assert torch.equal(a, b)


def test_a_killed_run_goes_on_to_the_same_weights(
    miniature: config.Params, sampler: ClipSampler, tmp_path: Path
) -> None:
    resumed = make_trainer(miniature, epochs=3)
    whole = make_trainer(miniature, epochs=3)
    fit(whole, sampler)
    killed = make_trainer(miniature, epochs=3)
    fit(killed, sampler, stop_after=1)
    checkpoint.save(tmp_path / "c", killed, "run")
    torch.manual_seed(99)
    assert checkpoint.resume(tmp_path / "c", resumed, "run")
    assert resumed.epoch == 1
    fit(resumed, sampler)
    for a, b in zip(
        whole.trained.state_dict().values(), resumed.trained.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b)
    assert [r["Loss/total"] for r in resumed.rows] == [r["Loss/total"] for r in whole.rows]


def test_a_checkpoint_of_another_run_is_ignored(
    miniature: config.Params, sampler: ClipSampler, tmp_path: Path
) -> None:
    trainer = make_trainer(miniature)
    checkpoint.save(tmp_path / "c", trainer, "run")
    assert not checkpoint.resume(tmp_path / "c", trainer, "another")
    assert not checkpoint.resume(tmp_path / "none", trainer, "run")


def test_a_broken_checkpoint_is_said_and_ignored(
    miniature: config.Params, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c").write_bytes(b"not a checkpoint at all")
    assert not checkpoint.resume(tmp_path / "c", make_trainer(miniature), "run")
    assert "cannot be read" in capsys.readouterr().out


def test_the_rate_warms_up_and_falls_to_one_percent() -> None:
    train = config.Train(epochs=10, warmup_epochs=2)
    assert learning_rate_scale(0.1, train) == pytest.approx(0.5)
    assert learning_rate_scale(0.2, train) == pytest.approx(1)
    assert learning_rate_scale(0.6, train) == pytest.approx(0.01 + 0.99 / 2)
    assert learning_rate_scale(1.0, train) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("epoch", "keep"), [(0, 1.0), (19, 1.0), (20, 1.0), (60, 0.85), (100, 0.7), (300, 0.7)]
)
def test_the_keep_ratio_is_the_reference_s(epoch: int, keep: float) -> None:
    assert keep_ratio(epoch, 0.7, config.Train()) == pytest.approx(keep)


def test_a_frozen_backbone_stays_as_it_was(miniature: config.Params, sampler: ClipSampler) -> None:
    trainer = make_trainer(miniature, epochs=1, backbone_lr_scale=0.0)
    backbone, head = (trainer.network.get_parameter(name) for name in (QKV, SCORE))
    frozen, free = backbone.clone(), head.clone()
    fit(trainer, sampler)
    assert torch.equal(frozen, backbone)
    assert not torch.equal(free, head)


def test_biases_and_norms_are_not_decayed(miniature: config.Params) -> None:
    optimiser = make_optimiser(Network(miniature.model, 10), miniature.train)
    for group in optimiser.param_groups:
        dims = {p.dim() > 1 for p in group["params"]}
        assert dims == {bool(group["weight_decay"])}
