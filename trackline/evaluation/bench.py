"""A model on a data set of any layout: followed once, scored, resumable, beside a box that never moves."""

from __future__ import annotations

import hashlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trackline import artifacts, config, records
from trackline.data import table as annotation_table
from trackline.data.frames import Frames
from trackline.data.table import Sequence
from trackline.errors import EmptyDataError
from trackline.evaluation import baselines, metrics, protocols, slices
from trackline.models.package import Package
from trackline.tracking.batch import track_sequences
from trackline.tracking.tracker import Tracker

PARTS = "parts"  # the folder with a table for each sequence that is done


@dataclass(frozen=True)
class Outcome:
    """The numbers, by data set and over all; the sequences that could not be followed, with why."""

    total: dict[str, Any]
    datasets: pd.DataFrame
    left_out: dict[str, str]


def evaluate(
    model: Package,
    table: pd.DataFrame,
    root: Path,
    out: Path,
    *,
    slots: int = 16,
    csrt: bool = False,
    others: tuple[str, ...] = (),
) -> Outcome:
    """Follow every sequence of an annotation table; write metrics.json, predictions.parquet, slices.csv.

    What a killed run had finished below out/parts is taken up again, provided that model and sequence
    are the same. Raises EmptyDataError when no sequence can be followed.
    """
    table = table.assign(split="test")
    found = list(annotation_table.iterate(table, "test"))
    left_out = {s.name: why for s in found if (why := _find_obstacle(s))}
    sequences = [s for s in found if s.name not in left_out]
    if not sequences:
        raise EmptyDataError(f"none of {len(found)} sequences below {root} has a box to start from")
    predictions, seconds, fresh = _follow(model, sequences, Frames(root), out, slots)
    truth = table[table["sequence"].isin({s.name for s in sequences})]
    matched = metrics.match(truth, predictions)
    classes = tuple(name for name in model.classes if name in set(truth["class"]))
    guesses = {"static": baselines.predict_static(truth)}
    if csrt:
        followed, _ = baselines.predict_csrt(truth, Frames(root), "test")
        guesses |= {} if followed is None else {"csrt": followed}
    simple = {name: metrics.match(truth, guess) for name, guess in guesses.items()}
    total = {
        **metrics.summarise(matched, model.classes if classes else ()),
        **{f"ao_{name}": _mean(frames) for name, frames in simple.items()},
        "fps": round(fresh / seconds, 1) if fresh else None,
        "left_out": len(left_out),
        "protocols": {
            name: protocols.score(
                protocols.PROTOCOLS[name], protocols.gather(truth, predictions)
            ).tell()
            for name in others
        },
    }
    artifacts.write_table(out / "predictions.parquet", matched)
    artifacts.write_table(out / "slices.csv", slices.summarise(matched, truth))
    artifacts.write_json(out / "metrics.json", total)
    return Outcome(total, _divide(truth, matched, simple), left_out)


def _find_obstacle(sequence: Sequence) -> str:
    """Why a sequence cannot be followed, or nothing."""
    box = sequence.boxes_xywh[0]
    if len(sequence) < 2:
        return "has a single frame"
    if not sequence.visible[0] or not np.isfinite(box).all() or (box[2:] <= 0).any():
        return "its first frame has no box"
    return ""


def _follow(
    model: Package, sequences: list[Sequence], frames: Frames, out: Path, slots: int
) -> tuple[pd.DataFrame, float, int]:
    """Predictions of all sequences, and the seconds and frames of those that were not done before."""
    weights = _fingerprint(model)
    parts = {s.name: out / PARTS / f"{_name_part(weights, s)}.parquet" for s in sequences}
    missing = [s for s in sequences if not parts[s.name].exists()]
    if len(missing) < len(sequences):
        done = len(sequences) - len(missing)
        print(f"{done} of {len(sequences)} sequences are done already", file=sys.stderr)
    start = time.perf_counter()
    if missing:
        track_sequences(
            Tracker(model.network, model.track, slots),
            missing,
            frames,
            model.classes,
            slots,
            title="evaluate",
            keep=lambda name, rows: artifacts.write_table(parts[name], rows),
        )
    seconds = time.perf_counter() - start
    tables = [pd.read_parquet(parts[s.name]) for s in sequences]
    return pd.concat(tables, ignore_index=True), seconds, sum(map(len, missing))


def _fingerprint(model: Package) -> str:
    """What else decides the predictions: weights and how they are used."""
    total = hashlib.sha256(str(records.plain(model.track)).encode())
    total.update(str(records.plain(model.network.config)).encode())
    for name, tensor in model.network.state_dict().items():
        total.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


def _name_part(weights: str, sequence: Sequence) -> str:
    content = (weights, sequence.name, sequence.images, sequence.boxes_xywh[0].tolist())
    return hashlib.sha256(repr(content).encode()).hexdigest()[:24]


def _mean(matched: pd.DataFrame) -> float:
    return float(metrics.select_scored(matched)["iou"].mean())


def _divide(
    truth: pd.DataFrame, matched: pd.DataFrame, simple: dict[str, pd.DataFrame]
) -> pd.DataFrame:
    """One row a sequence: dataset, sequence, class, frames, ao, sr50, and the AO of each baseline."""
    first = truth.drop_duplicates("sequence").set_index("sequence")
    rows = metrics.select_scored(matched).groupby("sequence")["iou"]
    beside = {
        f"ao_{name}": metrics.select_scored(found).groupby("sequence")["iou"].mean()
        for name, found in simple.items()
    }
    found = pd.DataFrame(
        {"frames": rows.size(), "ao": rows.mean(), "sr50": rows.apply(lambda v: (v > 0.5).mean())}
    ).assign(**beside)
    return first[["dataset", "class"]].join(found, how="inner").reset_index()


def describe(outcome: Outcome) -> str:
    """A row a sequence, and the total."""
    columns = [str(c) for c in outcome.datasets if str(c).startswith("ao_")]
    head = f"{'sequence':<28}{'frames':>7}{'AO':>8}{'SR50':>8}" + "".join(
        f"{str(c).removeprefix('ao_'):>8}" for c in columns
    )
    lines = [head]
    for row in outcome.datasets.rename(columns=str).to_dict("records"):
        numbers = "".join(f"{row[c]:>8.3f}" for c in ["ao", "sr50", *columns])
        lines.append(f"{row['sequence'][:27]:<28}{row['frames']:>7}{numbers}")
    total = outcome.total
    numbers = "".join(f"{total[c]:>8.3f}" for c in ["ao", "sr50", *columns])
    lines.append(f"{'all frames, pooled':<28}{total['frames']:>7}{numbers}")
    lines += [f"left out: {name} ({why})" for name, why in outcome.left_out.items()]
    for name, scores in total["protocols"].items():
        told = "  ".join(f"{k} {v:.3f}" for k, v in scores.items())
        lines.append(f"{name}: {told}")
    fps = f", {total['fps']:.0f} frames/s" if total["fps"] else ""
    return "\n".join([*lines, f"{total['sequences']} sequences, {total['frames']} frames{fps}"])


def index(data: Path, settings: config.Data) -> pd.DataFrame:
    """The annotation table of footage in any supported layout."""
    from trackline.data import footage

    found = footage.find(data, settings)
    return footage.join(rows for one in found for rows in footage.read(one, settings.class_map))
