"""Sequences to look at: which ones, and their frames with the true and the predicted box."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from trackline.data.frames import decode, read_bytes
from trackline.data.table import BOX
from trackline.evaluation import metrics

SEQUENCES_SHOWN = 6
FRAMES_SHOWN = 24
STRIP_BYTES = 300_000  # six strips and plotly's 4.6 MB stay below 8 MB, base64 included
SMALL_SIDE = 384


def choose_sequences(matched: pd.DataFrame, classes: tuple[str, ...]) -> pd.DataFrame:
    """Pick the best, median and worst sequence by mean IoU, and others of further classes between.

    Gives rows of metrics.summarise_sequences from best to worst, with `rank` (1 is best) and `note`.
    """
    table = metrics.summarise_sequences(matched, classes)
    ranked = table.sort_values(["mean_iou", "sequence"], ascending=[False, True])
    ranked = ranked.assign(rank=np.arange(1, len(ranked) + 1), note="").reset_index(drop=True)
    notes = {len(ranked) // 2: "median", len(ranked) - 1: "worst", 0: "best"}
    for row, note in notes.items():
        ranked.loc[row, "note"] = note
    picked = list(notes)
    while len(picked) < min(SEQUENCES_SHOWN, len(ranked)):
        picked.append(_pick_another(ranked["label"], picked))
    return ranked.iloc[sorted(picked)].reset_index(drop=True)


def cut_strip(
    root: Path, truth: pd.DataFrame, matched: pd.DataFrame, sequence: str
) -> dict[str, Any]:
    """Collect one sequence for the player: its size in pixels, and what each frame shows.

    `last` is the number of the last frame, `poster` the place of the one shown at first. A frame
    holds image (a data URI), number, truth (x, y, w, h or None), guess, iou, predicted, right and
    confidence. Long sequences are thinned evenly; large images are scaled down.
    """
    rows = _order(truth, sequence).merge(
        _order(matched, sequence), on="frame", suffixes=("", "_guess")
    )
    places = np.linspace(0, len(rows) - 1, min(FRAMES_SHOWN, len(rows))).round().astype(int)
    shown = rows.iloc[places]
    images = _fit([_read(root, row) for row in shown.to_dict("records")])
    frames = [
        {"image": image, **_describe(row)}
        for image, row in zip(images, shown.to_dict("records"), strict=True)
    ]
    return {
        "sequence": sequence,
        "width": int(shown["width"].iloc[0]),
        "height": int(shown["height"].iloc[0]),
        "last": int(rows["frame"].iloc[-1]),
        "poster": _choose_poster(frames),
        "named": any(frame["predicted"] for frame in frames),
        "frames": frames,
    }


def _choose_poster(frames: list[dict[str, Any]]) -> int:
    """The frame nearest to the middle that shows the target; the first, whose box is given, tells nothing."""
    middle = len(frames) // 2
    shown = [at for at, frame in enumerate(frames) if at and frame["truth"] is not None]
    return min(shown, key=lambda at: abs(at - middle), default=middle)


def _pick_another(labels: pd.Series[Any], picked: list[int]) -> int:
    """Take the row farthest in rank from those picked, of a class not seen yet if there is one."""
    free = [row for row in range(len(labels)) if row not in picked]
    seen = set(labels.iloc[picked])
    fresh = [row for row in free if labels.iloc[row] not in seen]
    return max(fresh or free, key=lambda row: min(abs(row - other) for other in picked))


def _order(table: pd.DataFrame, sequence: str) -> pd.DataFrame:
    return table[table["sequence"] == sequence].sort_values("frame")


def _read(root: Path, row: dict[Any, Any]) -> bytes:
    return read_bytes(root, str(row["image"]), int(row["offset"]), int(row["bytes"]))


def _fit(images: list[bytes]) -> list[str]:
    if sum(map(len, images)) > STRIP_BYTES:
        images = [_shrink(image) for image in images]
    return [_to_uri(image) for image in images]


def _shrink(data: bytes) -> bytes:
    image = cv2.cvtColor(decode(data, "a frame of the report"), cv2.COLOR_RGB2BGR)
    scale = min(1, SMALL_SIDE / max(image.shape[:2]))
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 70])[1].tobytes()


def _to_uri(data: bytes) -> str:
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _describe(row: dict[Any, Any]) -> dict[str, Any]:
    predicted = row.get("class_guess") if row["frame"] else None  # the first frame is given
    return {
        "number": int(row["frame"]),
        "truth": [round(row[name], 2) for name in BOX] if row["visible"] else None,
        "guess": [round(row[f"{name}_guess"], 2) for name in BOX],
        "iou": round(row["iou"], 3),
        "predicted": predicted,
        "right": predicted == row["class"],
        "confidence": round(row.get(f"p_{predicted}", np.nan), 3),
    }
