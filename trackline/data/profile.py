"""The data in numbers: a few features of each sequence, kept beside a model to know its data again."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

from trackline import artifacts, boxes, config
from trackline.data.frames import Frames, Image
from trackline.data.table import Sequence, iterate, spell_out
from trackline.errors import DataError, EmptyDataError

# What each feature of a sequence measures; all but "class" and "embedding" are numbers.
FEATURES = {
    "log_area": "size of the box, log of square pixels",
    "log_aspect": "log of width over height of the box",
    "motion": "steps of the centre from frame to frame, in target sizes",
    "centre_x": "centre of the box, 0 left to 1 right",
    "centre_y": "centre of the box, 0 top to 1 bottom",
    "brightness": "mean grey of some frames, 0 to 1",
    "contrast": "standard deviation of their grey, 0 to 0.5",
    "log_sharpness": "log variance of their Laplacian; low is blurred",
    "length": "frames in the sequence",
    "absence": "share of frames without the target",
    "class": "what the target is",
    "embedding": "how the champion's network sees one crop of the target: that of 8 random directions "
    "which moved furthest",
}
MEASURED = tuple(name for name in FEATURES if name != "embedding")
NUMBERS = tuple(name for name in MEASURED if name != "class")
DIRECTIONS = 8


@dataclass(frozen=True)
class Profile:
    """Features of the sequences of one split: a row each, no more than a sample of them.

    `embedding` [crops, DIRECTIONS] holds crops as a network sees them; without one there are none.
    """

    split: str
    sequences: int  # in the whole split
    frames: int
    features: pd.DataFrame
    embedding: np.ndarray[Any, Any] = field(default_factory=lambda: np.zeros((0, DIRECTIONS)))

    def write(self, path: Path) -> None:
        """Write the profile as compact JSON, atomically; the same data give the same bytes."""
        artifacts.write_text(path, self.spell())

    def spell(self) -> str:
        """The profile as the text of its file."""
        columns = self.features.astype(object).where(self.features.notna(), None)
        value = {
            "split": self.split,
            "sequences": self.sequences,
            "frames": self.frames,
            "features": {name: columns[name].tolist() for name in MEASURED},
            "embedding": [[_round(v) for v in row] for row in self.embedding.tolist()],
        }
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text + "\n"


def read(path: Path) -> Profile:
    """Read a profile; raises DataError when it is not one."""
    try:
        value = artifacts.read_json(path)
        kept = {name: value["features"].get(name) for name in MEASURED}
        features = pd.DataFrame(kept).astype(dict.fromkeys(NUMBERS, "float64") | {"class": "str"})
        seen = np.array(value.get("embedding", []), dtype=np.float64).reshape(-1, DIRECTIONS)
        return Profile(value["split"], value["sequences"], value["frames"], features, seen)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"{path} is not a profile of Trackline ({type(error).__name__}: {error}); "
            "run the drift step on the reference data to write one"
        ) from None


def describe(table: pd.DataFrame, root: Path, split: str, limits: config.Drift) -> Profile:
    """Measure a seeded sample of a split's sequences, decoding a few frames of each.

    Raises EmptyDataError when the split has no sequence.
    """
    inside = table["split"] == split
    sampled = sample(table, split, limits.sample, limits.seed)
    if sampled.empty:
        raise EmptyDataError(
            f"the split {split!r} has no sequence to profile; add some and index again"
        )
    count = sampled["sequence"].nunique()
    frames = Frames(root, cache_mb=16)
    with ThreadPool(os.cpu_count()) as pool:
        measured = pool.imap(
            lambda sequence: _measure(sequence, frames, limits.frames_per_sequence),
            iterate(sampled, split),
        )
        bar = tqdm(measured, "profile", count, disable=None, unit=" sequences", leave=False)
        features = pd.DataFrame(list(bar), columns=list(MEASURED))
    whole = table.loc[inside, "sequence"].nunique()
    return Profile(split, whole, int(inside.sum()), features)


def sample(table: pd.DataFrame, split: str, count: int, seed: int) -> pd.DataFrame:
    """The rows of a seeded sample of a split's sequences, all of them where there are no more."""
    inside = table["split"] == split
    names = np.array(sorted(table.loc[inside, "sequence"].unique()))
    chosen = np.random.default_rng(seed).permutation(len(names))[:count]
    return spell_out(table[inside & table["sequence"].isin(names[chosen])])


def find_targets(sequence: Sequence) -> np.ndarray[Any, Any]:
    """The frames whose target is visible and has a box of some area in an image."""
    sound = np.isfinite(sequence.boxes_xywh).all(axis=1) & (sequence.sizes_wh > 0).all(axis=1)
    sound &= sequence.visible & (sequence.boxes_xywh[:, 2:] > 0).all(axis=1)
    return np.flatnonzero(sound)


def _measure(sequence: Sequence, frames: Frames, count: int) -> dict[str, Any]:
    numbers = _measure_boxes(sequence) | _measure_images(_look(sequence, frames, count))
    numbers["length"] = len(sequence)
    numbers["absence"] = 1 - float(sequence.visible.mean())
    return {name: _round(value) for name, value in numbers.items()} | {"class": sequence.label}


def _measure_boxes(sequence: Sequence) -> dict[str, float]:
    """Average over frames with a box of some area; NaN where there is none."""
    at = find_targets(sequence)
    centres, sizes = np.split(boxes.xywh_to_cxcywh(sequence.boxes_xywh[at]), 2, axis=1)
    side = np.sqrt(sizes.prod(axis=1))
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=1) / side[:-1]
    x, y = (centres / sequence.sizes_wh[at]).T
    return {
        "log_area": _mean(np.log(sizes.prod(axis=1))),
        "log_aspect": _mean(np.log(sizes[:, 0] / sizes[:, 1])),
        "motion": _mean(steps[np.diff(at) == 1]),
        "centre_x": _mean(x),
        "centre_y": _mean(y),
    }


def _measure_images(greys: list[Image]) -> dict[str, float]:
    brightness, contrast = np.array([_moments(grey) for grey in greys]).reshape(-1, 2).T / 255
    edges = [_moments(cv2.Laplacian(grey, cv2.CV_16S))[1] for grey in greys]
    return {
        "brightness": _mean(brightness),
        "contrast": _mean(contrast),
        "log_sharpness": _mean(np.log(np.square(edges) + 1)),  # + 1: an even image has none
    }


def _moments(grey: Image) -> tuple[float, float]:
    """Mean and standard deviation; OpenCV's need no copy in float64."""
    mean, deviation = cv2.meanStdDev(grey)
    return float(mean.item()), float(deviation.item())


def _look(sequence: Sequence, frames: Frames, count: int) -> list[Image]:
    """Decode a few evenly spaced frames to grey, passing over what cannot be read: validation tells."""
    greys = []
    for frame in np.linspace(0, len(sequence) - 1, count).round().astype(int).tolist():
        with suppress(DataError, OSError):
            greys.append(cv2.cvtColor(frames(sequence, frame), cv2.COLOR_RGB2GRAY))
    return greys


def _mean(values: np.ndarray[Any, Any]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _round(value: float) -> float:
    return float(f"{value:.4g}")
