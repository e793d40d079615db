"""How fast networks learn, side by side in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch

from trackline.data.clips import Batch
from trackline.training.loop import Trainer, keep_ratio


def measure_pace(trainers: Sequence[Trainer], batch: Batch, turns: int = 15) -> list[float]:
    """Samples a second of each trainer in its last epoch: they take turns, the medians count.

    So other work on the machine slows all of them; on a CPU with one thread it slows none, as the clock is
    the process's own. The first turn, in which memory is claimed, is not timed.
    """
    seconds: list[list[float]] = [[] for _ in trainers]
    for trainer in trainers:
        trainer.network.train()
    for _ in range(1 + turns):
        for trainer, taken in zip(trainers, seconds, strict=True):
            taken.append(_time_step(trainer, batch))
    return [len(batch.labels) / statistics.median(taken[1:]) for taken in seconds]


def _time_step(trainer: Trainer, batch: Batch) -> float:
    ratio = trainer.network.config.elimination.keep[0]
    keep = keep_ratio(trainer.config.epochs - 1, ratio, trainer.config)
    return time_call(lambda: trainer.step(batch, keep), trainer.device)


def time_call(call: Callable[[], object], device: torch.device) -> float:
    """Seconds that a call takes on a device: of the process on a CPU with one thread, else of the wall."""
    cuda = device.type == "cuda"
    now = time.perf_counter if cuda or torch.get_num_threads() > 1 else time.process_time
    if cuda:
        torch.cuda.synchronize()
    start = now()
    call()
    if cuda:
        torch.cuda.synchronize()
    return now() - start
