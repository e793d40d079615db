"""Many sequences at once: lock-step batches whose slots are refilled as sequences end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Listing
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from trackline.data.frames import Frames, Shrunk
from trackline.data.table import BOX, Sequence
from trackline.errors import BoxError
from trackline.tracking.tracker import Result, Tracker

Array = np.ndarray[Any, Any]
DECODERS = 4  # threads; OpenCV decodes outside the interpreter's lock


def track_sequences(
    tracker: Tracker,
    sequences: Listing[Sequence],
    frames: Frames,
    classes: Listing[str],
    slots: int,
    looks: Mapping[str, Sequence] | None = None,
    title: str = "track",
    keep: Callable[[str, pd.DataFrame], None] | None = None,
) -> pd.DataFrame:
    """Follow every sequence from its first box; one row a frame, frame 0 holding the given box.

    `looks` names, by sequence, another one whose first frame serves as the template, to see
    whether the template matters. `keep` gets the name and the rows of each sequence once it ends.
    While the network looks at one frame of every slot, threads decode the next, JPEG files no larger
    than the last box known by then asks for. Columns: sequence, frame, x, y, w, h, confidence, class,
    p_CLASS…
    """
    results: dict[str, list[Result]] = {s.name: [] for s in sequences}
    waiting, active = list(reversed(sequences)), dict[int, Sequence]()
    tables: dict[str, pd.DataFrame] = {}
    frames_to_go = sum(len(s) - 1 for s in sequences)
    with (
        ThreadPoolExecutor(DECODERS) as pool,
        tqdm(total=frames_to_go, desc=title, unit="frame", disable=None) as progress,
    ):
        ahead: dict[int, Future[Shrunk]] = {}
        while waiting or active:
            for slot in set(range(slots)) - active.keys():
                if waiting:
                    sequence = active[slot] = waiting.pop()
                    _start(tracker, slot, sequence, frames, (looks or {}).get(sequence.name))
                    results[sequence.name].append(_given(sequence, len(classes)))
            for slot, s in active.items():
                if slot not in ahead and len(results[s.name]) < len(s):
                    by = tracker.find_shrink(slot)
                    ahead[slot] = pool.submit(frames.shrink, s, len(results[s.name]), by)
            images = {slot: ahead.pop(slot).result() for slot in active if slot in ahead}
            for slot in images:
                s, following = active[slot], len(results[active[slot].name]) + 1
                if following < len(s):
                    by = tracker.find_shrink(slot)
                    ahead[slot] = pool.submit(frames.shrink, s, following, by)
            stepped = tracker.step(list(images), list(images.values())) if images else []
            for slot, result in zip(images, stepped, strict=True):
                results[active[slot].name].append(result)
            for slot, s in list(active.items()):
                if len(results[s.name]) == len(s):
                    tables[s.name] = _tabulate(s, results.pop(s.name), classes)
                    del active[slot]
                    if keep is not None:
                        keep(s.name, tables[s.name])
            progress.update(len(images))
    return pd.concat([tables[s.name] for s in sequences], ignore_index=True)


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
