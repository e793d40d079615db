"""Candidate against champion: the same frames, paired sequence by sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trackline import boxes
from trackline.data.table import BOX
from trackline.evaluation import metrics
from trackline.evaluation.intervals import Bootstrap
from trackline.evaluation.statistics import (
    UNKNOWN,
    Comparison,
    Interval,
    find_detectable_difference,
    judge_difference,
    widen,
)

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Champion:
    """The model to beat: its version, and its predictions of the test frames with their `iou`."""

    version: int
    predictions: pd.DataFrame
    evaluation_data_sha256: str | None = None


@dataclass(frozen=True)
class Paired:
    """The difference candidate − champion of one metric, and what it means at a margin."""

    phrase: Comparison
    difference: Interval
    resolution: float  # the smallest difference that these pairs reveal, at 80 % power
    sequences: int


def select_scored(predictions: pd.DataFrame) -> pd.DataFrame:
    """Keep the frames with an overlap; raises EmptyDataError when there is none."""
    return metrics.select_scored(predictions.assign(valid=predictions["iou"].notna()))


def tabulate(scored: pd.DataFrame) -> pd.DataFrame:
    """One row a sequence: sequence, frames, ao (its mean IoU) and, where classes are predicted,
    right (whether the class by mean probability is) and accuracy (share of frames that are).
    """
    classes = [name[2:] for name in map(str, scored.columns) if name.startswith("p_")]
    table = metrics.summarise_sequences(scored, classes).rename(columns={"mean_iou": "ao"})
    if "predicted" in table:
        table["right"] = table["predicted"] == table["label"]
        by_frame = (scored["class"] == scored["label"]).groupby(scored["sequence"]).mean()
        table["accuracy"] = table["sequence"].map(by_frame)
    return table


def compare(
    candidate: pd.DataFrame,
    champion: pd.DataFrame,
    metric: str,
    margin: float,
    bootstrap: Bootstrap,
    seed_sd: float = 0.0,
) -> Paired:
    """Compare `ao` (each sequence weighs its frames) or `accuracy` (each weighs 1) of two tables.

    `seed_sd` is what the seed of a training alone does to the metric, as a standard deviation.
    """
    pairs = candidate.merge(champion, on="sequence", suffixes=("", "_champion"), validate="1:1")
    differences = (pairs[metric] - pairs[f"{metric}_champion"]).to_numpy()
    weights = pairs["frames"].to_numpy() if metric == "ao" else None
    found = widen(bootstrap(differences, weights), seed_sd)
    resolution = find_detectable_difference(differences, weights, seed_sd=seed_sd)
    return Paired(judge_difference(found, margin), found, resolution, len(pairs))


def find_shift(
    candidate: pd.DataFrame, champion: pd.DataFrame, bootstrap: Bootstrap
) -> dict[str, Interval]:
    """How far the candidate's boxes lie beside the champion's along x and y, in pixels.

    Where both hit (IoU ≥ 0.5), and paired: what a shape or a motion does to the boxes of any tracker
    cancels out, which a bias against the annotations (its spread over sequences is ten times as large)
    cannot offer. Both intervals hold at once with 95 %. Without a frame that both hit they are NaN.
    """
    pairs = candidate.merge(champion, on=metrics.KEYS, suffixes=("", "_champion"), validate="1:1")
    pairs = pairs[(pairs[["iou", "iou_champion"]] >= metrics.HIT).all(axis=1)]
    if pairs.empty:
        return dict.fromkeys("xy", UNKNOWN)
    ours, theirs = (
        boxes.xywh_to_cxcywh(pairs[[name + suffix for name in BOX]].to_numpy(float))[:, :2]
        for suffix in ("", "_champion")
    )
    apart = pairs[["sequence"]].assign(**dict(zip("xy", (ours - theirs).T, strict=True)))
    groups = apart.groupby("sequence")
    means, frames = groups[["x", "y"]].mean(), groups.size().to_numpy()
    return {axis: bootstrap(means[axis].to_numpy(), frames, level=0.975) for axis in "xy"}


def find_mismatch(
    scored: pd.DataFrame, champion: Champion, evaluation_data_sha256: str | None
) -> str | None:
    """Say why candidate and champion cannot be paired, or None when they saw the same frames."""
    name = f"champion {champion.version}"
    ours, theirs = (_list_frames(table) for table in (scored, select_scored(champion.predictions)))
    known = champion.evaluation_data_sha256
    if ours != theirs:
        reason = f"{len(ours - theirs)} frames are new, {len(theirs - ours)} are gone"
    elif known is not None and known != evaluation_data_sha256:
        reason = f"data {known[:12]}, now {str(evaluation_data_sha256)[:12]}"
    else:
        return None
    return (
        f"{name} was scored on another test set ({reason}); evaluate {name} on this one "
        "and pass its predictions with --champion-predictions"
    )


def _list_frames(scored: pd.DataFrame) -> set[tuple[str, int]]:
    return set(zip(scored["sequence"], scored["frame"], strict=True))
