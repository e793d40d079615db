"""Metrics of one-pass evaluation: the tracker gets the first box and follows to the end, once.

Scored are all frames but the first (its box was given) on which the target is visible, pooled over
the sequences unless the table says otherwise. Coordinates are continuous: a width has no +1 pixel.

| name                   | over scored frames                                                  | source |
|------------------------|---------------------------------------------------------------------|--------|
| `ao`                   | mean IoU                                                            | [1]    |
| `sr50`, `sr75`         | share with IoU > 0.50, > 0.75                                       | [1]    |
| `success_auc`          | mean of the success curve: share with IoU > t, t = 0, 0.01 … 1      | [2]    |
| `precision_20`         | share with centre error ≤ 20 px; the curve has 0, 1 … 50 px         | [2]    |
| `norm_precision_auc`   | mean of the curve: share with √((dx/w)² + (dy/h)²) ≤ t for          | [3]    |
|                        | t = 0, 0.01 … 0.5; w and h are the true size, at least 1 px         |        |
| `mean_iou`             | mean over sequences of the mean IoU of each                         |        |
| `accuracy`             | share whose predicted class is the true one                         |        |
| `sequence_accuracy`    | share of sequences whose class has the largest mean probability     |        |
| `accuracy_given_iou50` | `accuracy` among frames with IoU ≥ 0.50                             |        |
| `joint_accuracy`       | share with IoU ≥ 0.50 and the right class at once                   |        |
| `ece`                  | calibration of the class: mean over 15 bins of the largest          | [4]    |
|                        | probability of |share right − mean probability|, by bin size        |        |
| `box_ece`              | the same of `confidence` against IoU ≥ 0.50                         | [4]    |
| `centre_bias_px`       | length of the mean shift of the centre where IoU ≥ 0.50, in pixels  |        |
| `failures_per_1000`    | times the IoU falls to 0.1 or below, for 1 000 frames               | [5]    |
| `time_to_failure`      | mean over sequences of the share of frames before the first failure | [5]    |

IoU is taken between boxes clipped to the image the way of the GOT-10k toolkit (the corner first,
then the size), so that `ao`, `sr50` and `sr75` are its numbers; errors of the centre are not clipped.

[1] Huang, Zhao & Huang, GOT-10k, TPAMI 2019, and its toolkit.  [2] Wu, Lim & Yang, Online Object
Tracking, CVPR 2013 and TPAMI 2015.  [3] Müller et al., TrackingNet, ECCV 2018.  [4] Guo et al., On
Calibration of Modern Neural Networks, ICML 2017.  [5] after VOT's anchor-based short-term protocol
(Kristan et al., VOT2020), without its restarts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from trackline import boxes
from trackline.data.table import BOX
from trackline.errors import DataError, EmptyDataError

Array = np.ndarray[Any, Any]

KEYS = ["sequence", "frame"]
IOU_THRESHOLDS = np.linspace(0, 1, 101)
PIXEL_THRESHOLDS = np.arange(51.0)
NORM_THRESHOLDS = np.linspace(0, 0.5, 51)
HIT, LOST = 0.5, 0.1  # overlaps from which a box counts as right, and down to which as lost
CALIBRATION_BINS = 15
RELIABILITY = ["what", "low", "high", "confidence", "right", "frames"]
_DERIVED = ["shift_x_px", "shift_y_px", "iou", "centre_error_px", "norm_error", "valid", "label"]


def match(truth: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """Add iou, centre_error_px, norm_error, shift_{x,y}_px, valid and label to predictions of `truth`.

    `truth` holds the annotation rows to score, one split as a rule; the errors are NaN where
    `valid` is false, which is on first and absent frames. Raises DataError unless each row of one
    table has exactly one partner in the other.
    """
    found = predictions.drop(columns=_DERIVED, errors="ignore").set_index(KEYS).sort_index()
    known = truth.set_index(KEYS).sort_index()
    _check_partners(known.index, found.index)
    true, guess = (_read_boxes(table) for table in (known, found))
    valid = _find_scored(known, true)
    errors = {
        "iou": _overlap_in_image(guess, true, known[["width", "height"]].to_numpy(np.float64)),
        "centre_error_px": _distance(guess, true, 1.0),
        "norm_error": _distance(guess, true, np.maximum(true[:, 2:], 1)),
        **dict(zip(("shift_x_px", "shift_y_px"), _shift(guess, true).T, strict=True)),
    }
    nan = {name: np.where(valid, value, np.nan) for name, value in errors.items()}
    return found.assign(**nan, valid=valid, label=known["class"].to_numpy()).reset_index()


def summarise(matched: pd.DataFrame, classes: Sequence[str]) -> dict[str, float | int]:
    """Compute the metrics of the table above; those of classes are NaN without any."""
    scored = select_scored(matched)
    iou = scored["iou"].to_numpy()
    norm_errors = scored["norm_error"].to_numpy()
    return {
        "ao": float(iou.mean()),
        "sr50": float(_share_above(iou, 0.5)),
        "sr75": float(_share_above(iou, 0.75)),
        "success_auc": float(_share_above(iou, IOU_THRESHOLDS).mean()),
        "precision_20": float(_share_within(scored["centre_error_px"].to_numpy(), 20)),
        "norm_precision_auc": float(_share_within(norm_errors, NORM_THRESHOLDS).mean()),
        "mean_iou": float(scored.groupby("sequence")["iou"].mean().mean()),
        **_summarise_labels(scored, classes),
        "box_ece": _find_calibration_error(reliability(scored, "box")),
        **_summarise_failures(scored),
        "centre_bias_px": _find_bias(scored),
        "sequences": int(scored["sequence"].nunique()),
        "frames": len(scored),
    }


def summarise_sequences(matched: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """One row a sequence: label, frames, mean_iou, and predicted (the class by mean probability)."""
    scored = select_scored(matched)
    groups = scored.groupby("sequence", sort=True)
    table = groups.agg(label=("label", "first"), frames=("iou", "size"), mean_iou=("iou", "mean"))
    if classes and has_classes(scored):
        probability = groups[_name_columns(scored, classes)].mean()
        table["predicted"] = np.asarray(classes)[probability.to_numpy().argmax(axis=1)]
    return table.reset_index()


def summarise_classes(matched: pd.DataFrame) -> pd.DataFrame:
    """One row a true class, by name: label, sequences, frames, ao, accuracy (NaN without classes)."""
    scored = select_scored(matched)
    right = scored["class"] == scored["label"] if has_classes(scored) else np.nan
    groups = scored.assign(right=right).groupby("label", sort=True)
    return groups.agg(
        sequences=("sequence", "nunique"),
        frames=("iou", "size"),
        ao=("iou", "mean"),
        accuracy=("right", "mean"),
    ).reset_index()


def curves(matched: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Tables to plot: success and precision against their thresholds, confusion frame by frame, and
    the reliability of both confidences.
    """
    scored = select_scored(matched)
    pixels, norms = scored["centre_error_px"].to_numpy(), scored["norm_error"].to_numpy()
    precision = {
        "threshold_px": PIXEL_THRESHOLDS,
        "precision": _share_within(pixels, PIXEL_THRESHOLDS),
        "norm_threshold": NORM_THRESHOLDS,
        "norm_precision": _share_within(norms, NORM_THRESHOLDS),
    }
    success = _share_above(scored["iou"].to_numpy(), IOU_THRESHOLDS)
    pairs = scored[["label", "class"]] if has_classes(scored) else pd.DataFrame([], columns=[0, 1])
    return {
        "success": pd.DataFrame({"threshold": IOU_THRESHOLDS, "success": success}),
        "precision": pd.DataFrame(precision),
        "confusion": pairs.set_axis(["actual", "predicted"], axis=1).reset_index(drop=True),
        "reliability": _stack(reliability(scored, "class"), reliability(scored, "box")),
    }


def reliability(matched: pd.DataFrame, what: Literal["class", "box"]) -> pd.DataFrame:
    """How often what was said with so much confidence is right: a row for each bin that is not empty.

    Columns: what, low, high, confidence (mean), right (share) and frames. A class is right or not, a
    box is from an IoU of 0.50. Empty where the predictions say nothing of the kind.
    """
    scored = select_scored(matched)
    columns = [name for name in scored if str(name).startswith("p_")]
    if what == "class":
        usable = bool(columns) and has_classes(scored)
        sure = scored[columns].max(axis=1) if usable else None
        right = scored["class"] == scored["label"] if usable else None
    else:
        sure, right = scored.get("confidence"), scored["iou"] >= HIT
    if sure is None or right is None:
        return pd.DataFrame(columns=RELIABILITY)
    places = np.clip(np.ceil(sure.to_numpy() * CALIBRATION_BINS) - 1, 0, CALIBRATION_BINS - 1)
    bins = pd.DataFrame({"confidence": sure, "right": right.astype(float)}).groupby(places)
    table = bins.agg(
        confidence=("confidence", "mean"), right=("right", "mean"), frames=("right", "size")
    )
    low = table.index.to_numpy() / CALIBRATION_BINS
    table = table.assign(what=what, low=low, high=low + 1 / CALIBRATION_BINS)
    return table[RELIABILITY].reset_index(drop=True)


def select_scored(matched: pd.DataFrame) -> pd.DataFrame:
    """Keep the frames that count; raises EmptyDataError when none does."""
    scored = matched[matched["valid"]]
    if scored.empty:
        raise EmptyDataError(
            "no frame can be scored: a sequence needs a visible target after its first frame; "
            "look at the visible column of the annotation table"
        )
    return scored


def find_failures(scored: pd.DataFrame) -> Array:
    """Where the target is lost anew, [frames]: it is lost there and was not in the frame before."""
    lost = scored.sort_values(KEYS)["iou"] <= LOST
    before = lost.groupby(scored["sequence"]).shift(fill_value=False).astype(bool)
    return (lost & ~before).reindex(scored.index).to_numpy()


def has_classes(matched: pd.DataFrame) -> bool:
    """Whether the predictions name a class at all (a plain tracker's do not)."""
    return "class" in matched and bool(matched["class"].notna().any())


def _stack(*tables: pd.DataFrame) -> pd.DataFrame:
    full = [table for table in tables if len(table)]
    return pd.concat(full, ignore_index=True) if full else tables[0]


def _read_boxes(table: pd.DataFrame) -> Array:
    box_xywh = table[BOX].to_numpy(np.float64)
    return np.where(np.isfinite(box_xywh), box_xywh, np.nan)


def _find_scored(known: pd.DataFrame, true: Array) -> Array:
    later = known.index.get_level_values("frame").to_numpy() > 0
    scored: Array = later & known["visible"].to_numpy(bool) & np.isfinite(true).all(axis=1)
    return scored


def _overlap_in_image(a_xywh: Array, b_xywh: Array, sizes_wh: Array) -> Array:
    limit = np.where(sizes_wh > 0, sizes_wh, np.inf)
    return boxes.overlap_xywh(_clip(a_xywh, limit), _clip(b_xywh, limit))


def _clip(box_xywh: Array, limit_wh: Array) -> Array:
    corner = np.clip(box_xywh[:, :2], 0, limit_wh)
    return np.hstack((corner, np.clip(box_xywh[:, 2:], 0, limit_wh - corner)))


def _distance(a_xywh: Array, b_xywh: Array, unit: float | Array) -> Array:
    distance: Array = np.linalg.norm(_shift(a_xywh, b_xywh) / unit, axis=1)
    return np.nan_to_num(distance, nan=np.inf)  # a box that is not a number is nowhere near


def _shift(a_xywh: Array, b_xywh: Array) -> Array:
    shift: Array = boxes.xywh_to_cxcywh(a_xywh)[:, :2] - boxes.xywh_to_cxcywh(b_xywh)[:, :2]
    return shift


def _share_above(values: Array, thresholds: float | Array) -> Array:
    return 1 - np.searchsorted(np.sort(values), thresholds, side="right") / len(values)


def _share_within(values: Array, thresholds: float | Array) -> Array:
    return np.searchsorted(np.sort(values), thresholds, side="right") / len(values)


def _summarise_labels(scored: pd.DataFrame, classes: Sequence[str]) -> dict[str, float]:
    names = ("accuracy", "sequence_accuracy", "accuracy_given_iou50", "joint_accuracy", "ece")
    if not classes or not has_classes(scored):
        return dict.fromkeys(names, float("nan"))
    right = (scored["class"] == scored["label"]).to_numpy(bool)
    hit = scored["iou"].to_numpy() >= HIT
    sequences = summarise_sequences(scored, classes)
    by_sequence = (sequences["predicted"] == sequences["label"]).mean()
    given_hit = right[hit].mean() if hit.any() else np.nan
    error = _find_calibration_error(reliability(scored, "class"))
    values = (right.mean(), by_sequence, given_hit, (right & hit).mean(), error)
    return dict(zip(names, map(float, values), strict=True))


def _find_calibration_error(table: pd.DataFrame) -> float:
    if table.empty:
        return float("nan")
    gaps = (table["right"] - table["confidence"]).abs()
    return float(np.average(gaps, weights=table["frames"]))


def _find_bias(scored: pd.DataFrame) -> float:
    placed = scored.loc[scored["iou"] >= HIT, ["shift_x_px", "shift_y_px"]]
    return float(np.hypot(*placed.mean())) if len(placed) else float("nan")


def _summarise_failures(scored: pd.DataFrame) -> dict[str, float]:
    in_order = scored.sort_values(KEYS)
    lost = in_order["iou"] <= LOST
    alive = ~lost.groupby(in_order["sequence"]).cummax()
    return {
        "failures_per_1000": float(find_failures(scored).mean() * 1000),
        "time_to_failure": float(alive.groupby(in_order["sequence"]).mean().mean()),
    }


def _name_columns(scored: pd.DataFrame, classes: Sequence[str]) -> list[str]:
    names = [f"p_{name}" for name in classes]
    if missing := [name for name in names if name not in scored]:
        raise DataError(
            f"the predictions lack the column {missing[0]}; "
            "evaluate again with the classes that the model was trained on"
        )
    return names


def _check_partners(known: pd.Index, found: pd.Index) -> None:
    for index, what in ((found, "predictions"), (known, "annotations")):
        if index.has_duplicates:
            first = _name_frame(index[index.duplicated()])
            raise DataError(
                f"the {what} list {first} twice; each frame has one row, write them again"
            )
    if len(missing := known.difference(found)):
        raise DataError(
            f"{len(missing)} of {len(known)} annotated frames have no prediction, "
            f"the first is {_name_frame(missing)}; evaluate again on the same split"
        )
    if len(extra := found.difference(known)):
        raise DataError(
            f"{len(extra)} predictions belong to no annotated frame, "
            f"the first is {_name_frame(extra)}; evaluate again after indexing"
        )


def _name_frame(index: pd.Index) -> str:
    sequence, frame = index[0]
    return f"{sequence}/{frame}"
