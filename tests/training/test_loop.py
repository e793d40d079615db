"""Training: losses fall, schedules follow their formulas."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from tests.training.conftest import MakeTrainer
from trackline import config
from trackline.data.clips import ClipLoader
from trackline.errors import ConfigError
from trackline.models.network import Network, Prediction
from trackline.training.loop import Trainer, keep_ratio, learning_rate_scale
from trackline.training.losses import Losses, compute_losses

SCORE = "box_head.score.0.0.weight"


def fit(trainer: Trainer, loader: ClipLoader) -> None:
    trainer.fit(loader, lambda trainer: None)


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_the_losses_of_one_batch_fall(
    optimiser: str, make_trainer: MakeTrainer, loader: ClipLoader
) -> None:
    plain = config.Augment(grey=0, flip=0, brightness=0, colour=0, distractors=0)
    trainer = make_trainer(augment=plain, optimiser=optimiser)
    (batch,) = loader(0, 8)
    trainer.network.train()
    losses = torch.stack([trainer.step(batch, keep=1.0) for _ in range(120)])
    first, last = Losses(*losses[:5].mean(0)), Losses(*losses[-5:].mean(0))
    assert last.total < 0.75 * first.total
    assert last.iou > first.iou + 0.15
    assert last.accuracy > 0.7


def test_an_epoch_has_the_reference_s_names(make_trainer: MakeTrainer, loader: ClipLoader) -> None:
    trainer = make_trainer(epochs=1)
    fit(trainer, loader)
    (row,) = trainer.rows
    expected = {"Loss/total", "Loss/giou", "Loss/l1", "Loss/location", "Loss/classification"}
    assert expected | {"IoU", "Accuracy", "epoch", "samples_per_second"} <= row.keys()
    tracking = 2 * row["Loss/giou"] + 5 * row["Loss/l1"] + row["Loss/location"]
    total = tracking + trainer.config.class_weight * row["Loss/classification"]
    assert row["Loss/total"] == pytest.approx(total, rel=1e-4)


def test_the_network_is_told_the_boxes_that_the_losses_compare_with(
    make_trainer: MakeTrainer, loader: ClipLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After augmentation, which moves them: the class head pools under them."""
    trainer = make_trainer()
    told: list[torch.Tensor] = []
    compared: list[torch.Tensor] = []

    def weigh(said: Prediction, boxes_xywh: torch.Tensor, **rest: Any) -> Losses:
        compared.append(boxes_xywh)
        return compute_losses(said, boxes_xywh, **rest)

    monkeypatch.setattr("trackline.training.loop.compute_losses", weigh)
    trainer.network.register_forward_pre_hook(lambda _, given: told.append(given[4]))
    trainer.step(next(loader(0, 8)), keep=1.0)
    torch.testing.assert_close(told[0], torch.stack(compared, dim=1))


def test_training_is_reproducible(make_trainer: MakeTrainer, loader: ClipLoader) -> None:
    runs = []
    for _ in range(2):
        runs.append(make_trainer(epochs=1))
        fit(runs[-1], loader)
    for a, b in zip(*(t.trained.state_dict().values() for t in runs), strict=True):
        assert torch.equal(a, b)


def test_the_rate_warms_up_and_falls_to_one_percent() -> None:
    train = config.Train(epochs=10, warmup_epochs=2)
    assert learning_rate_scale(0.1, train) == pytest.approx(0.5)
    assert learning_rate_scale(0.2, train) == pytest.approx(1)
    assert learning_rate_scale(0.6, train) == pytest.approx(0.01 + 0.99 / 2)
    assert learning_rate_scale(1.0, train) == pytest.approx(0.01)


def test_the_rate_falls_to_a_tenth_at_the_reference_s_step() -> None:
    train = config.Train(schedule="step", warmup_epochs=2)
    rates = [learning_rate_scale(epoch / 100, train) for epoch in (1, 2, 79.99, 80, 99)]
    assert rates == [pytest.approx(0.5), 1, 1, 0.1, 0.1]


def test_a_step_after_the_end_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"train\.step_epoch is 80, but train\.epochs is 60"):
        config.Train(epochs=60, schedule="step")


@pytest.mark.parametrize(
    ("epoch", "keep"), [(0, 1.0), (19, 1.0), (20, 1.0), (60, 0.85), (100, 0.7), (300, 0.7)]
)
def test_the_keep_ratio_is_the_reference_s(epoch: int, keep: float) -> None:
    assert keep_ratio(epoch, 0.7, config.Train()) == pytest.approx(keep)


def test_a_frozen_backbone_stays_as_it_was(make_trainer: MakeTrainer, loader: ClipLoader) -> None:
    trainer = make_trainer(epochs=1, backbone_lr_scale=0.0)
    head = trainer.network.get_parameter(SCORE)
    frozen = {k: v.clone() for k, v in trainer.network.backbone.state_dict().items()}
    free = head.clone()
    fit(trainer, loader)
    for name, value in trainer.network.backbone.state_dict().items():
        assert torch.equal(frozen[name], value), name  # running means of its stem too
    assert all(p.grad is None for p in trainer.network.backbone.parameters())
    assert not torch.equal(free, head)


@pytest.mark.parametrize("keep", [1.0, 0.7])
def test_recomputing_gives_the_same_gradients_and_keeps_less(
    keep: float, miniature: config.Params, loader: ClipLoader
) -> None:
    """Stochastic depth is drawn again alike."""
    backbone = dataclasses.replace(miniature.model.backbone, drop_path=0.5)
    model = dataclasses.replace(miniature.model, backbone=backbone)
    (batch,) = loader(0, 8)
    kept, gradients = [], []
    for recompute in (False, True):
        train = dataclasses.replace(miniature.train, recompute=recompute)
        torch.manual_seed(0)
        trainer = Trainer(Network(model, 10), train, torch.device("cpu"))
        trainer.network.train()
        sizes: dict[int, int] = {}

        def note(tensor: torch.Tensor, sizes: dict[int, int] = sizes) -> torch.Tensor:
            sizes[tensor.data_ptr()] = tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            trainer.step(batch, keep)
        kept.append(sum(sizes.values()))
        gradients.append({k: p.grad for k, p in trainer.network.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)
    assert kept[1] < kept[0]
