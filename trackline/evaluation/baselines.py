"""What simple means reach on the same frames, so that the tracker's numbers have a scale.

For the box: the first box never moved, and OpenCV's CSRT (Lukežič et al., CVPR 2017), a good tracker
without learning. For the class: linear classifiers that see only the target's colours or only the
size and aspect of its true box; what they know, a class head need not have learnt from the shape.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

from trackline.boxes import clip_xywh
from trackline.data.frames import Frames, Image
from trackline.data.table import BOX, Sequence, iterate
from trackline.evaluation import metrics

Array = np.ndarray[Any, Any]

HSV_BINS = (12, 4, 4)
FRAMES_TO_LEARN_FROM = 4000  # more frames of the same sequences teach a linear model nothing
SHRINKAGE = 0.1


@dataclass(frozen=True)
class Samples:
    """Targets as seen by the linear classifiers: features [n, width], labels and sequences [n]."""

    colour: Array
    shape: Array
    labels: Array
    sequences: Array


def run_baselines(
    table: pd.DataFrame,
    frames: Frames,
    split: str,
    classes: tuple[str, ...],
    csrt: bool = True,
) -> tuple[dict[str, float | None], dict[str, pd.DataFrame]]:
    """Score every baseline on one split; None where one could not run.

    Gives ao_static, ao_csrt, csrt_fps (frames a second of one stream), and colour_accuracy and
    shape_accuracy, which are shares of sequences; the classifiers learn on the train split. Beside
    them the matched boxes of `static_box` and, where it ran, of `csrt`.
    """
    truth = table[table["split"] == split]
    followed, fps = predict_csrt(table, frames, split) if csrt else (None, None)
    guesses = {"static_box": predict_static(truth), "csrt": followed}
    matched = {k: metrics.match(truth, v) for k, v in guesses.items() if v is not None}
    scores = {
        "ao_static": _score(matched["static_box"]),
        "ao_csrt": _score(matched["csrt"]) if "csrt" in matched else None,
        "csrt_fps": fps,
        **score_linear(table, frames, split, classes),
    }
    return scores, matched


def predict_static(truth: pd.DataFrame) -> pd.DataFrame:
    """Predict the first box of each sequence for all of its frames."""
    guess = truth[[*metrics.KEYS, *BOX]].sort_values(metrics.KEYS)
    guess[BOX] = guess.groupby("sequence")[BOX].transform("first")
    return guess.reset_index(drop=True)


def predict_csrt(
    table: pd.DataFrame, frames: Frames, split: str
) -> tuple[pd.DataFrame | None, float | None]:
    """Follow every sequence of a split with CSRT; give the boxes and frames per second."""
    create = getattr(cv2, "TrackerCSRT_create", None)
    if create is None:
        print("no CSRT baseline: it needs opencv-contrib-python-headless", file=sys.stderr)
        return None, None
    sequences = list(iterate(table, split))
    with tqdm(total=sum(map(len, sequences)), desc="CSRT", unit="frame", disable=None) as bar:
        # one after the other: CSRT is parallel inside, and a pool of threads gains nothing
        followed = [_follow(s, create(), frames, bar.update) for s in sequences]
    boxes, seconds = zip(*followed, strict=True)
    rows = pd.DataFrame(np.concatenate(boxes), columns=BOX)
    rows["sequence"] = np.repeat([s.name for s in sequences], [len(s) for s in sequences])
    rows["frame"] = np.concatenate([np.arange(len(s)) for s in sequences])
    return rows, len(rows) / sum(seconds) if any(seconds) else None


def score_linear(
    table: pd.DataFrame, frames: Frames, split: str, classes: tuple[str, ...]
) -> dict[str, float | None]:
    """Share of a split's sequences named rightly from colour alone and from box shape alone."""
    known, asked = (_gather(table, frames, name, classes) for name in ("train", split))
    if known is None or asked is None:
        return {"colour_accuracy": None, "shape_accuracy": None}
    score = partial(_classify, known=known, asked=asked, count=len(classes))
    return {"colour_accuracy": score("colour"), "shape_accuracy": score("shape")}


def measure_colour(image: Image, box_xywh: Array) -> Array:
    """Square roots of a joint HSV histogram of the pixels in a box, [192], length 1."""
    height, width = image.shape[:2]
    x, y, w, h = clip_xywh(box_xywh, width, height, margin=1).astype(int)
    hsv = cv2.cvtColor(image[y : y + h, x : x + w], cv2.COLOR_RGB2HSV)
    counts = cv2.calcHist([hsv], [0, 1, 2], None, list(HSV_BINS), [0, 180, 0, 256, 0, 256])
    shares: Array = np.sqrt(counts.ravel() / counts.sum())
    return shares


def measure_shape(box_xywh: Array) -> Array:
    """Logarithms of width, height, aspect and area of a box in pixels, [4]."""
    log_w, log_h = np.log(np.maximum(box_xywh[2:], 1e-3))
    return np.array([log_w, log_h, log_w - log_h, log_w + log_h])


def _score(matched: pd.DataFrame) -> float:
    return float(metrics.select_scored(matched)["iou"].mean())


def _follow(
    sequence: Sequence, tracker: Any, frames: Frames, advance: Callable[[int], object]
) -> tuple[Array, float]:
    """Track one sequence from its first box; boxes [frames, 4] and the tracker's own seconds."""
    boxes, seconds = np.repeat(sequence.boxes_xywh[:1], len(sequence), axis=0), 0.0
    with suppress(cv2.error):  # a sliver of a target breaks CSRT's assertions: its box stays
        for frame in range(len(sequence)):
            image = cv2.cvtColor(frames(sequence, frame), cv2.COLOR_RGB2BGR)
            start = time.perf_counter()
            boxes[frame:] = _step(tracker, image, boxes[frame], first=frame == 0)
            seconds += time.perf_counter() - start
            advance(1)
    return boxes, seconds


def _step(tracker: Any, image: Image, box_xywh: Array, first: bool) -> Array:
    if first:
        height, width = image.shape[:2]
        inside = clip_xywh(box_xywh, width, height, margin=2).round().astype(int)
        tracker.init(image, tuple(inside.tolist()))
        return box_xywh
    found, moved = tracker.update(image)
    return np.array(moved) if found else box_xywh


def _gather(
    table: pd.DataFrame, frames: Frames, split: str, classes: tuple[str, ...]
) -> Samples | None:
    found = [s for s in iterate(table, split) if s.label in classes]
    each = max(1, FRAMES_TO_LEARN_FROM // max(1, len(found)))
    step = -(-len(found) // FRAMES_TO_LEARN_FROM) or 1
    rows = [
        (measure_colour(frames(s, i), s.boxes_xywh[i]), measure_shape(s.boxes_xywh[i]), label, n)
        for n, s in enumerate(tqdm(found[::step], desc=f"colours of {split}", disable=None))
        for label in [classes.index(s.label)]
        for i in _spread(np.flatnonzero(s.visible), each)
    ]
    return Samples(*map(np.array, zip(*rows, strict=True))) if rows else None


def _spread(choices: Array, count: int) -> Iterator[int]:
    places = np.linspace(0, len(choices) - 1, min(count, len(choices)))
    yield from choices[places.round().astype(int)].tolist()


def _classify(name: str, known: Samples, asked: Samples, count: int) -> float:
    """Learn from `known`, ask about `asked`; the share of sequences named rightly."""
    learnt, seen = (getattr(samples, name).astype(np.float64) for samples in (known, asked))
    weights, bias = _discriminate(learnt, known.labels, count)
    probability = pd.DataFrame(_soften(seen @ weights + bias))
    by_sequence = probability.groupby(asked.sequences).mean().to_numpy().argmax(axis=1)
    labels = pd.Series(asked.labels).groupby(asked.sequences).first()
    return float((by_sequence == labels.to_numpy()).mean())


def _discriminate(features: Array, labels: Array, count: int) -> tuple[Array, Array]:
    """Linear discriminant analysis (Hastie et al. 2009, 4.3): weights [width, count], bias [count].

    A closed form: nothing to seed or to tune. The shared covariance is shrunk towards its diagonal.
    """
    member = np.eye(count)[labels]
    sizes = member.sum(axis=0)
    means = member.T @ features / np.maximum(sizes, 1)[:, None]
    spread = np.cov((features - means[labels]).T, bias=True)
    spread = (1 - SHRINKAGE) * spread + np.diag(SHRINKAGE * np.diag(spread) + 1e-9)
    weights = np.linalg.solve(spread, means.T)
    with np.errstate(divide="ignore"):  # a class without samples is never named
        bias: Array = np.log(sizes / sizes.sum()) - (means.T * weights).sum(axis=0) / 2
    return weights, bias


def _soften(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Array = powers / powers.sum(axis=1, keepdims=True)
    return shares
