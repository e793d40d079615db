"""How fast networks learn: in turns, by the median, from the second turn on."""

from __future__ import annotations

import time

import pytest
import torch

from tests.training.conftest import MakeTrainer
from trackline.data.clips import ClipLoader
from trackline.training.loop import Trainer
from trackline.training.pace import measure_pace


def test_trainers_take_turns_and_the_median_counts(
    make_trainer: MakeTrainer, loader: ClipLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = [make_trainer(), make_trainer()]
    costs = [iter([90, 1, 1, 50, 1, 1]), iter([90, 2, 2, 2, 2, 2])]  # a first and a disturbed step
    clock, order = [0.0], []

    def step(trainer: Trainer, *_: object) -> None:
        order.append(pair.index(trainer))
        clock[0] += next(costs[order[-1]])

    monkeypatch.setattr(Trainer, "step", step)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(time, "process_time", lambda: clock[0])
    (batch,) = loader(0, 8)
    assert measure_pace(pair, batch, turns=5) == [8, 4]
    assert order == [0, 1] * 6


def test_the_last_epoch_is_what_is_timed(
    make_trainer: MakeTrainer, loader: ClipLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(epochs=3, keep_start_epoch=0, keep_warmup_epochs=1)
    kept = []
    monkeypatch.setattr(Trainer, "step", lambda _, batch, keep: kept.append(keep))
    (batch,) = loader(0, 8)
    measure_pace([trainer], batch, turns=1)
    assert kept == [trainer.network.config.elimination.keep[0]] * 2
    assert trainer.network.training
