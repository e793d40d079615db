"""Evaluation in lock-step against one sequence at a time: the same model, the same sequences, in one run.

Follows the sequences of the test split from their image files to boxes, with one slot and with
`track.slots`, in turns, so that other load hits both. Prints frames a second by the clock on the wall and
by the process's own (which other load does not touch), and how far the boxes of the two lie apart.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

import trackline
from trackline import config
from trackline.commandline import Parser
from trackline.data import table
from trackline.data.frames import Frames
from trackline.data.table import BOX, Sequence
from trackline.models.package import Package
from trackline.tracking.batch import track_sequences
from trackline.tracking.tracker import Tracker
from trackline.training.lineage import describe_hardware


class Turn(NamedTuple):
    """One pass over all sequences: frames a second on the wall and of the process, and the boxes."""

    by_wall: float
    by_process: float
    boxes: pd.DataFrame


def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    parser = Parser(prog="python -m benchmarks.lockstep", description=__doc__)
    parser.add_argument("--model", default="artifacts/model", help="a package, or models:/…")
    parser.add_argument("--annotations", type=Path, default=Path("artifacts/annotations.parquet"))
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="for data.path")
    parser.add_argument("--slots", type=int, help="instead of the model's track.slots")
    parser.add_argument("--repeat", type=int, default=3, help="turns each takes; the median counts")
    given = parser.parse_args(argv)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = trackline.load(given.model)
    model.network.to(device)
    root = Path(config.load(given.params).data.path)
    sequences = list(table.iterate(table.read(given.annotations), "test"))
    print(f"{time.strftime('%Y-%m-%d')}, {describe_hardware(device)}, torch {torch.__version__}\n")
    print("| slots | frames/s | frames per process second |\n|---:|---:|---:|")
    slots = (1, given.slots or model.track.slots)
    turns = {n: list[Turn]() for n in slots}
    for _ in range(given.repeat):
        for n in slots:
            turns[n].append(follow(model, sequences, root, n))
    for n, found in turns.items():
        print(f"| {n} | {_middle(found, 'by_wall'):,.0f} | {_middle(found, 'by_process'):,.0f} |")
    one, many = (turns[n] for n in slots)
    gains = [_middle(many, clock) / _middle(one, clock) for clock in ("by_wall", "by_process")]
    apart = np.abs(one[0].boxes[BOX].to_numpy() - many[0].boxes[BOX].to_numpy()).max()
    print(f"\ntimes faster: {gains[0]:.1f} on the wall, {gains[1]:.1f} of the process")
    print(f"largest difference of a box: {apart:.2g} px in {len(one[0].boxes)} frames")


def follow(model: Package, sequences: list[Sequence], root: Path, slots: int) -> Turn:
    """One pass; nothing is decoded before it."""
    tracker, frames = Tracker(model.network, model.track, slots), Frames(root)
    start, begun = time.perf_counter(), time.process_time()
    boxes = track_sequences(tracker, sequences, frames, model.classes, slots)
    wall, process = time.perf_counter() - start, time.process_time() - begun
    return Turn(len(boxes) / wall, len(boxes) / process, boxes)


def _middle(turns: list[Turn], clock: str) -> float:
    return float(statistics.median(getattr(turn, clock) for turn in turns))


if __name__ == "__main__":
    main()
