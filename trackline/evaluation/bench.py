"""A model on a data set of any layout: followed once, scored, resumable, beside a box that never moves."""

from __future__ import annotations

import hashlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from trackline import artifacts, config, records
from trackline.data import table as annotation_table
from trackline.data.frames import Frames
from trackline.data.table import Sequence
from trackline.errors import EmptyDataError
from trackline.evaluation import baselines, intervals, metrics, protocols, slices
from trackline.evaluation.statistics import bootstrap_mean
from trackline.models.package import Package
from trackline.tracking.batch import track_sequences
from trackline.tracking.tracker import Tracker

PARTS = "parts"  # the folder with a table for each sequence that is done


@dataclass(frozen=True)
class Outcome:
    """The numbers, by video and over all; the sequences that could not be followed, with why."""

    total: dict[str, Any]
    videos: pd.DataFrame
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
        **intervals.find_intervals(matched, bootstrap_mean),
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
    if missing := int((sequence.lengths < 0).sum()):
        whole = missing == len(sequence)
        return "no images" if whole else f"{missing} of {len(sequence)} images are missing"
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
    """One row a video: dataset, name, targets, frames, ao, sr50, and the AO of each baseline."""
    first = truth.drop_duplicates("sequence").set_index("sequence")
    scored = metrics.select_scored(matched)
    columns = {"ao": scored["iou"], "sr50": scored["iou"] > 0.5}
    columns |= {f"ao_{k}": metrics.select_scored(found)["iou"] for k, found in simple.items()}
    table = pd.DataFrame(columns).assign(sequence=scored["sequence"])
    video = first["image"].map(lambda image: str(PurePosixPath(image).parent))
    groups = table.groupby(table["sequence"].map(video), sort=False)
    rows = groups[list(columns)].mean().assign(frames=groups.size())
    named = groups["sequence"].unique()
    rows = rows.assign(
        targets=named.map(len),
        name=named.map(lambda names: _name_video(list(names))),
        dataset=named.map(lambda names: first.loc[names[0], "dataset"]),
    )
    return rows[["dataset", "name", "targets", "frames", *columns]].reset_index(drop=True)


def _name_video(names: list[str]) -> str:
    """The name of its only target, or what its targets VIDEO-0001, VIDEO-0002 … share."""
    return names[0] if len(names) == 1 else names[0].rpartition("-")[0] or names[0]


def describe(outcome: Outcome) -> str:
    """A table in Markdown, a row a video, and the total."""
    controls = [str(c) for c in outcome.videos if str(c).startswith("ao_")]
    columns = ["frames", "ao", *controls, "sr50"]
    heads = ["frames", "AO", *(f"AO, {c.removeprefix('ao_')}" for c in controls), "SR50"]
    lines = [f"| | {' | '.join(heads)} |", f"|---|{'---:|' * len(heads)}"]
    total = outcome.total
    rows: list[dict[Any, Any]] = outcome.videos.to_dict("records")
    for row in [*rows, {**total, "name": "all frames, pooled"}]:
        count = f", {row['targets']} targets" if row.get("targets", 1) > 1 else ""
        dataset, name = row.get("dataset"), row["name"]
        name = f"{dataset}/{name.removeprefix(f'{dataset}-')}" if dataset else name
        numbers = (f"{row[c]:.3f}" if c != "frames" else f"{row[c]:,}" for c in columns)
        lines.append(f"| {name}{count} | {' | '.join(numbers)} |")
    lines += ["", *_list_left_out(outcome.left_out)]
    for name, scores in total["protocols"].items():
        told = "  ".join(f"{k} {v:.3f}" for k, v in scores.items())
        lines.append(f"{name}: {told}")
    fps = f", {total['fps']:.0f} frames/s" if total["fps"] else ""
    low, high = total.get("ao_low"), total.get("ao_high")
    sure = f", AO {total['ao']:.3f} [{low:.3f}, {high:.3f}]" if low is not None else ""
    count = f"{total['sequences']} targets, {total['frames']:,} scored frames"
    return "\n".join([*lines, f"{count}{sure}{fps}"])


def _list_left_out(left_out: dict[str, str]) -> list[str]:
    """A line a reason."""
    names: dict[str, list[str]] = {}
    for name, why in left_out.items():
        names.setdefault(why, []).append(name)
    return [
        f"left out, {why}: {', '.join(found[:6])}"
        + f" and {len(found) - 6} more" * (len(found) > 6)
        for why, found in names.items()
    ]


def index(data: Path, settings: config.Data) -> pd.DataFrame:
    """The annotation table of footage in any supported layout."""
    from trackline.data import footage

    found = footage.find(data, settings)
    return footage.join(rows for one in found for rows in footage.read(one, settings.class_map))
