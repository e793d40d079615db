"""Many sequences at once: lock-step batches whose slots are refilled as sequences end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from collections.abc import Sequence as Listing
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from trackline.data.frames import Frames
from trackline.data.table import BOX, Sequence
from trackline.errors import BoxError
from trackline.tracking.tracker import Result, Tracker

Array = np.ndarray[Any, Any]


def track_sequences(
    tracker: Tracker,
    sequences: Listing[Sequence],
    frames: Frames,
    classes: Listing[str],
    slots: int,
    looks: Mapping[str, Sequence] | None = None,
    title: str = "track",
) -> pd.DataFrame:
    """Follow every sequence from its first box; one row a frame, frame 0 holding the given box.

    `looks` names, by sequence, another one whose first frame serves as the template, to see
    whether the template matters. Columns: sequence, frame, x, y, w, h, confidence, class, p_CLASS…
    """
    results: dict[str, list[Result]] = {s.name: [] for s in sequences}
    waiting, active = list(reversed(sequences)), dict[int, Sequence]()
    frames_to_go = sum(len(s) - 1 for s in sequences)
    with tqdm(total=frames_to_go, desc=title, unit="frame", disable=None) as progress:
        while waiting or active:
            for slot in set(range(slots)) - active.keys():
                if waiting:
                    sequence = active[slot] = waiting.pop()
                    _start(tracker, slot, sequence, frames, (looks or {}).get(sequence.name))
                    results[sequence.name].append(_given(sequence, len(classes)))
            active = {k: s for k, s in active.items() if len(results[s.name]) < len(s)}
            images = [frames(s, len(results[s.name])) for s in active.values()]
            if images:
                stepped = tracker.step(list(active), images)
                for sequence, result in zip(active.values(), stepped, strict=True):
                    results[sequence.name].append(result)
            progress.update(len(images))
    return pd.concat([_tabulate(s, results[s.name], classes) for s in sequences], ignore_index=True)


def time_steps(tracker: Tracker, sequence: Sequence, frames: Frames, most: int = 50) -> float:
    """Median milliseconds of a step on frames that are decoded already, the first three left out."""
    _start(tracker, 0, sequence, frames, None)
    spent = []
    for frame in range(1, min(len(sequence), most)):
        image = frames(sequence, frame)
        start = time.perf_counter()
        tracker.step([0], [image])
        spent.append(time.perf_counter() - start)
    return float(np.median(spent[3:] or spent or [np.nan])) * 1000


def _start(
    tracker: Tracker, slot: int, sequence: Sequence, frames: Frames, look: Sequence | None
) -> None:
    other = None if look is None else (frames(look, 0), look.boxes_xywh[0])
    try:
        tracker.start(slot, frames(sequence, 0), sequence.boxes_xywh[0], other)
    except BoxError as error:
        raise BoxError(f"sequence {sequence.name}, first frame: {error}") from None


def _given(sequence: Sequence, classes: int) -> Result:
    return Result(sequence.boxes_xywh[0], 1.0, np.full(classes, 1 / max(classes, 1)))


def _tabulate(sequence: Sequence, results: list[Result], classes: Listing[str]) -> pd.DataFrame:
    """The rows of one sequence."""
    table = pd.DataFrame(np.array([r.box_xywh for r in results]), columns=pd.Index(BOX))
    table.insert(0, "sequence", sequence.name)
    table.insert(1, "frame", np.arange(len(results), dtype=np.int32))
    table["confidence"] = np.array([r.confidence for r in results], dtype=np.float32)
    if results[-1].probabilities.size:
        probabilities = np.array([r.probabilities for r in results], dtype=np.float32)
        table["class"] = [classes[i] for i in probabilities.argmax(1)]
        table[[f"p_{name}" for name in classes]] = probabilities
    return table
