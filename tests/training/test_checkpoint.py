"""Checkpoints: a run goes on from between any two steps, and from the file before a damaged one."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import torch

from tests.training.conftest import MakeTrainer
from trackline.data.clips import ClipLoader
from trackline.training import checkpoint
from trackline.training.loop import Trainer


class Stop(Exception):
    pass


def fit(trainer: Trainer, loader: ClipLoader, stop_at: tuple[int, int] | None = None) -> None:
    """Train, to the end or to a position (epoch, batch)."""

    def look(trainer: Trainer) -> None:
        if (trainer.epoch, trainer.batch) == stop_at:
            raise Stop

    with contextlib.suppress(Stop):
        trainer.fit(loader, look, look)


def are_equal(a: Trainer, b: Trainer) -> bool:
    states = (
        {**t.network.state_dict(), **{f"ema.{k}": v for k, v in t.trained.state_dict().items()}}
        for t in (a, b)
    )
    return all(torch.equal(x, y) for x, y in zip(*(s.values() for s in states), strict=True))


@pytest.mark.parametrize(
    "position", [(1, 0), (1, 1), (2, 2)], ids=lambda p: f"epoch{p[0]}batch{p[1]}"
)
def test_a_stopped_run_goes_on_to_the_same_weights_and_rows(
    position: tuple[int, int], make_trainer: MakeTrainer, loader: ClipLoader, tmp_path: Path
) -> None:  # fmt: skip
    settings = {"epochs": 3, "samples_per_epoch": 24}
    whole = make_trainer(**settings)
    fit(whole, loader)
    resumed = make_trainer(**settings)
    stopped = make_trainer(**settings)  # last, for it seeds dropout
    fit(stopped, loader, stop_at=position)
    checkpoint.save(tmp_path / "c", stopped, "run")
    torch.manual_seed(99)
    assert checkpoint.resume(tmp_path / "c", resumed, "run")
    assert (resumed.epoch, resumed.batch) == position
    fit(resumed, loader)
    assert are_equal(whole, resumed)
    clocks = {"seconds", "samples_per_second"}
    rows = [
        [{k: v for k, v in r.items() if k not in clocks} for r in t.rows] for t in (whole, resumed)
    ]
    assert rows[0] == rows[1]  # fmt: skip
    assert all(row["seconds"] > 0 for row in resumed.rows)


def test_a_checkpoint_of_another_run_is_passed_over(
    make_trainer: MakeTrainer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = make_trainer()
    checkpoint.save(tmp_path / "c", trainer, "run")
    assert not checkpoint.resume(tmp_path / "c", trainer, "another")
    assert not checkpoint.resume(tmp_path / "none", trainer, "run")
    assert capsys.readouterr() == ("", "")


def damage_header(path: Path) -> None:
    path.write_bytes(b"not a checkpoint at all")


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [damage_header, cut_off, flip_a_bit])
def test_a_damaged_checkpoint_gives_way_to_the_one_before_loudly(
    damage: object, make_trainer: MakeTrainer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, trainer = tmp_path / "c.safetensors", make_trainer()
    for epoch in (1, 2):
        trainer.epoch = epoch
        checkpoint.save(path, trainer, "run")
    assert callable(damage)
    damage(path)
    assert checkpoint.resume(path, trainer, "run")
    assert trainer.epoch == 1
    assert "c.safetensors is damaged" in capsys.readouterr().err
    damage(checkpoint.before(path))
    assert not checkpoint.resume(path, trainer, "run")
    assert "c-before.safetensors is damaged" in capsys.readouterr().err


def test_the_sound_checkpoint_survives_the_first_save_after_a_damaged_one(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    path, trainer = tmp_path / "c.safetensors", make_trainer()
    for _ in range(2):
        checkpoint.save(path, trainer, "run")
    flip_a_bit(path)
    checkpoint.resume(path, trainer, "run")
    trainer.epoch = 1
    checkpoint.save(path, trainer, "run")
    flip_a_bit(path)
    assert checkpoint.resume(path, trainer, "run")
    assert trainer.epoch == 0


def test_a_kill_between_the_two_renames_of_a_save_loses_nothing_but_the_newest(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    path, trainer = tmp_path / "c.safetensors", make_trainer()
    checkpoint.save(path, trainer, "run")
    path.replace(checkpoint.before(path))
    assert checkpoint.resume(path, trainer, "run")
    checkpoint.remove(path)
    assert not list(tmp_path.iterdir())
