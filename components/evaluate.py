"""Evaluate: follow every held-out sequence once and score boxes and classes.

Reads the model package, the annotation table and the held-out images; writes metrics/evaluate.json,
artifacts/predictions.parquet and plots/{success,precision,confusion,reliability,slices}.csv. Beside the
model's own numbers stand those of simple baselines, and of the same model given another sequence's
template.

exit codes: 0 evaluated, 3 params.yaml, 11 no held-out sequence, 12 missing or 13 corrupt image,
14 a first box that cannot be followed, 21 a model package that was altered
"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackline import artifacts, config
from trackline.commandline import Parser, exit_code
from trackline.errors import EmptyDataError

if TYPE_CHECKING:
    import pandas as pd

    from trackline.data.frames import Frames
    from trackline.data.table import Sequence
    from trackline.evaluation.intervals import Bootstrap
    from trackline.models.package import Package

CONTROLS = ("static", "csrt", "wrong_template")  # their overlaps stand beside the model's own


@dataclass(frozen=True)
class Inputs:
    """What the step reads besides the images."""

    model: Path = Path("artifacts/model")
    annotations: Path = Path("artifacts/annotations.parquet")


@dataclass(frozen=True)
class Outputs:
    """What the step writes; `plots` is a folder that holds other steps' plots too."""

    metrics: Path = Path("metrics/evaluate.json")
    predictions: Path = Path("artifacts/predictions.parquet")
    plots: Path = Path("plots")


def evaluate(params: config.Params, inputs: Inputs, outputs: Outputs) -> dict[str, Any]:
    """Run the step; returns the metrics."""
    from trackline.data import table
    from trackline.data.frames import Frames, hash_frames
    from trackline.evaluation import intervals, metrics, verdict
    from trackline.evaluation.baselines import run_baselines
    from trackline.evaluation.statistics import bootstrap_mean
    from trackline.models import package

    model = package.load(inputs.model, find_device())
    annotations = table.read(inputs.annotations)
    split = params.evaluate.split
    sequences = list(table.iterate(annotations, split))
    if not sequences:
        raise EmptyDataError(
            f"{inputs.annotations} has no sequence in split {split}, nothing to score"
        )
    frames = Frames(Path(params.data.path))
    start = time.perf_counter()
    predictions = follow(model, sequences, frames, params.track.slots)
    fps = sum(len(s) for s in sequences) / (time.perf_counter() - start)
    truth = annotations[annotations["split"] == split]
    matched = metrics.match(truth, predictions)
    control = follow(model, sequences, frames, params.track.slots, swap_templates(sequences))
    blind = metrics.match(truth, control)
    weights = inputs.model / package.WEIGHTS
    scores, simple = run_baselines(
        annotations, frames, split, params.data.classes, params.evaluate.csrt
    )
    sampling = params.evaluate
    bootstrap = partial(bootstrap_mean, resamples=sampling.bootstrap, seed=sampling.seed)
    result = {
        **metrics.summarise(matched, model.classes),
        **intervals.find_intervals(matched, bootstrap),
        "fps": round(fps, 1),
        "latency_ms": round(measure_latency(model, sequences, frames), 2),
        "size_mb": round(weights.stat().st_size / 1e6, 3),
        "ao_wrong_template": metrics.summarise(blind, ())["ao"],
        **scores,
        "variant": model.network.config.variant,
        "weights_sha256": artifacts.sha256(weights),
        "evaluation_data_sha256": hash_frames(frames.root, sequences),
        **score_protocols(params.evaluate.protocols, truth, predictions),
    }
    beside = {**simple, "static": simple["static_box"], "wrong_template": blind}
    told = {
        f"{intervals.CONTROL}{name}": beside[name]["iou"] for name in CONTROLS if name in beside
    }
    artifacts.write_table(outputs.predictions, matched.assign(**told))
    for name, curve in draw_curves(params, matched, simple, truth, bootstrap).items():
        artifacts.write_table(outputs.plots / f"{name}.csv", curve)
    artifacts.write_json(outputs.metrics, verdict.seal(result))
    return result


def score_protocols(
    names: tuple[config.Protocol, ...], truth: pd.DataFrame, predictions: pd.DataFrame
) -> dict[str, dict[str, dict[str, float]]]:
    """The numbers of other toolkits, below `protocols`; nothing when none is asked for."""
    from trackline.evaluation import protocols

    if not names:
        return {}
    found = protocols.gather(truth, predictions)
    scores = {name: protocols.score(protocols.PROTOCOLS[name], found) for name in names}
    return {"protocols": {name: score.tell() for name, score in scores.items()}}


def draw_curves(
    params: config.Params,
    matched: pd.DataFrame,
    simple: dict[str, pd.DataFrame],
    truth: pd.DataFrame,
    bootstrap: Bootstrap,
) -> dict[str, pd.DataFrame]:
    """The tables to plot; in those of success and precision the baselines have a column each."""
    from trackline.evaluation import metrics, slices

    curves = metrics.curves(matched)
    for name, table in simple.items():
        beside = metrics.curves(table)
        for curve in ("success", "precision"):
            curves[curve][name] = beside[curve][curve]
    least = params.evaluate.min_slice_sequences
    return curves | {
        "slices": slices.summarise(matched, truth, min_sequences=least, bootstrap=bootstrap)
    }


def measure_latency(model: Package, sequences: list[Sequence], frames: Frames) -> float:
    """Median time in ms that one stream takes for a frame that is already decoded."""
    from trackline.tracking.batch import time_steps
    from trackline.tracking.tracker import Tracker

    longest = max(sequences, key=len)
    return time_steps(Tracker(model.network, model.track), longest, frames)


def follow(
    model: Package,
    sequences: list[Sequence],
    frames: Frames,
    slots: int,
    looks: dict[str, Sequence] | None = None,
) -> pd.DataFrame:
    """Track the sequences in lock-step, `slots` at a time."""
    from trackline.tracking.batch import track_sequences
    from trackline.tracking.tracker import Tracker

    tracker = Tracker(model.network, model.track, slots)
    title = "evaluate" if looks is None else "wrong template"
    return track_sequences(tracker, sequences, frames, model.classes, slots, looks, title)


def swap_templates(sequences: list[Sequence]) -> dict[str, Sequence]:
    """For each sequence the next one of another class, or simply the next where all are alike."""
    swapped = {}
    for i, sequence in enumerate(sequences):
        later = sequences[i + 1 :] + sequences[:i]
        swapped[sequence.name] = next(
            (s for s in later if s.label != sequence.label), (later or [sequence])[0]
        )
    return swapped


def find_device() -> str:
    """The GPU where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def describe(result: dict[str, Any]) -> str:
    """The outcome in three lines."""
    csrt = "not available" if result["ao_csrt"] is None else f"{result['ao_csrt']:.3f}"
    accuracy = result["sequence_accuracy"]
    classes = "" if math.isnan(accuracy) else f"  class accuracy {accuracy:.3f}"
    return (
        f"AO {result['ao']:.3f}  SR50 {result['sr50']:.3f}  SR75 {result['sr75']:.3f}{classes}"
        f"  ({result['sequences']} sequences, {result['frames']} frames, {result['fps']:.0f} frames/s)\n"
        f"baselines: AO static box {result['ao_static']:.3f}, CSRT {csrt}, wrong template "
        f"{result['ao_wrong_template']:.3f}; class by colour {result['colour_accuracy']:.3f}, "
        f"by box shape {result['shape_accuracy']:.3f}"
    )


def main(argv: list[str] | None = None) -> int:
    """Run the step from the command line."""
    parser = Parser(prog="python -m components.evaluate", description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--model", type=Path, default=Inputs.model)
    parser.add_argument("--annotations", type=Path, default=Inputs.annotations)
    parser.add_argument("--metrics", type=Path, default=Outputs.metrics)
    parser.add_argument("--predictions", type=Path, default=Outputs.predictions)
    parser.add_argument("--plots", type=Path, default=Outputs.plots)
    given = parser.parse_args(argv)

    def run() -> None:
        inputs = Inputs(given.model, given.annotations)
        outputs = Outputs(given.metrics, given.predictions, given.plots)
        print(describe(evaluate(config.load(given.params), inputs, outputs)))

    return exit_code(run)


if __name__ == "__main__":
    sys.exit(main())
