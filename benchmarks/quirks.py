"""What each correction of the reference changes on the held-out sequences.

Evaluates one trained package as it is, with each quirk of the reference switched on by itself, and with
all of them; trains nothing. Differences are of the same sequences, with a bootstrap interval over them.
`flips` acts in training only: --flips names a package that was trained with it.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trackline import config
from trackline.commandline import Parser, exit_code
from trackline.errors import EmptyDataError

Array = np.ndarray[Any, Any]
SHOWN: tuple[config.Quirk, ...] = ("mask", "bank", "crop", "memory_box", "pooling")


def main(argv: list[str] | None = None) -> int:
    """Print the table as Markdown."""
    parser = Parser(prog="python -m benchmarks.quirks", description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--model", type=Path, default=Path("artifacts/model"))
    parser.add_argument("--flips", type=Path, help="a package trained with the quirk flips")
    parser.add_argument("--annotations", type=Path, default=Path("artifacts/annotations.parquet"))
    given = parser.parse_args(argv)

    def run() -> None:
        params = config.load(given.params)
        print_table(params, given.model, given.flips, given.annotations)

    return exit_code(run)


def print_table(params: config.Params, model: Path, flips: Path | None, annotations: Path) -> None:
    """One row a setting: AO and sequence accuracy, and their differences to the corrected tracker."""
    from trackline.data import table

    every = table.read(annotations)
    sequences = list(table.iterate(every, params.evaluate.split))
    if not sequences:
        raise EmptyDataError(f"{annotations} has no sequence in split {params.evaluate.split}")
    settings: list[tuple[str, Path, tuple[config.Quirk, ...]]] = [
        ("corrected", model, ()),
        *((quirk, model, (quirk,)) for quirk in SHOWN),
        ("all five", model, SHOWN),
    ]
    if flips is not None:
        settings.append(("flips, another training", flips, ()))
    print("| | AO | difference | class, sequence | difference | frames whose box moved |")
    print("|---|---:|---:|---:|---:|---:|")
    base: pd.DataFrame | None = None
    for title, folder, quirks in settings:
        scores = follow(params, folder, quirks, every, sequences)
        base = scores if base is None else base
        print(format_row(title, scores, base), flush=True)


def follow(
    params: config.Params,
    folder: Path,
    quirks: tuple[config.Quirk, ...],
    annotations: pd.DataFrame,
    sequences: list[Any],
) -> pd.DataFrame:
    """Mean overlap, class hit and boxes of each sequence, by a package with some quirks.

    The memory that outlives its sequence shows only where one slot serves many, so all share few.
    """
    from trackline.data.frames import Frames
    from trackline.evaluation import metrics
    from trackline.models import package
    from trackline.models.network import Network
    from trackline.tracking.batch import track_sequences
    from trackline.tracking.tracker import Tracker

    model = package.load(folder)
    altered = dataclasses.replace(model.network.config, reference_compat=quirks)
    network = Network(altered, len(model.classes)).eval()
    network.load_state_dict(model.network.state_dict())
    slots = min(4, params.track.slots)
    tracker = Tracker(network, model.track, slots)
    frames = Frames(Path(params.data.path))
    found = track_sequences(tracker, sequences, frames, model.classes, slots)
    truth = annotations[annotations["split"] == params.evaluate.split]
    return metrics.match(truth, found)


def format_row(title: str, found: pd.DataFrame, base: pd.DataFrame) -> str:
    """A row of the table; differences are paired by sequence and carry 95 % intervals."""
    from trackline.data.table import BOX
    from trackline.evaluation import metrics

    classes = [c.removeprefix("p_") for c in found.columns if c.startswith("p_")]
    mine, theirs = (metrics.summarise_sequences(t, classes) for t in (found, base))
    frames = mine["frames"].to_numpy()
    ao = float(np.average(mine["mean_iou"], weights=frames))
    by = format_difference((mine["mean_iou"] - theirs["mean_iou"]).to_numpy(), frames)
    moved = (found[BOX].to_numpy() - base[BOX].to_numpy()) ** 2
    share = float((moved.max(axis=1) > 0.5**2)[found["valid"]].mean())
    if not classes:
        return f"| {title} | {ao:.3f} | {by} | | | {share:.0%} |"
    right, before = ((t["predicted"] == t["label"]).to_numpy(float) for t in (mine, theirs))
    accuracy = format_difference(right - before, np.ones_like(right))
    return f"| {title} | {ao:.3f} | {by} | {right.mean():.3f} | {accuracy} | {share:.0%} |"


def format_difference(values: Array, weights: Array) -> str:
    """The weighted mean of differences with its interval, or nothing where there is none."""
    from trackline.evaluation.statistics import bootstrap_mean

    if not values.any():
        return "none"
    mean = bootstrap_mean(values, weights)
    return f"{mean.value:+.4f} [{mean.low:+.4f}, {mean.high:+.4f}]"


if __name__ == "__main__":
    sys.exit(main())
