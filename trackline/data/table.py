"""The annotation table: one row for each frame of each sequence, whatever layout it came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trackline.errors import DataError

COLUMNS = {
    "dataset": "str",  # the folder below the data folder, or the data folder itself
    "split": "str",  # train, val or test
    "sequence": "str",  # unique over all splits
    "frame": "int32",  # 0 for the first frame of the sequence
    "image": "str",  # path below the data folder: FILE, SHARD.tar/MEMBER or VIDEO/NUMBER
    "offset": "int64",  # where it starts in its shard, its microsecond in its video; -1 for a loose file
    "bytes": "int64",  # length of the encoded image; -1 when there is none
    "width": "int32",  # of the image, in pixels, from its header; 0 when it has no readable one
    "height": "int32",
    "x": "float64",  # left, top, width, height in pixels, continuous, origin 0
    "y": "float64",
    "w": "float64",
    "h": "float64",
    "visible": "bool",  # false: the target is absent, its box means nothing
    "amodal": "bool",  # boxes go on beyond the image's border where the target does
    "cover": "float64",  # visible share of the target, NaN when unknown
    "class": "str",
    "source": "str",  # annotation file
    "line": "int32",  # and the line in it; 0 for an image without one
    "stated_width": "int32",  # of the images, says a meta file; 0 when none does
    "stated_height": "int32",
    "stated_frames": "int32",  # of the footage, likewise
    "footage_frames": "int32",  # images that the footage has
}
BOX = ["x", "y", "w", "h"]
NAMES = ["dataset", "split", "sequence", "class", "source"]  # of which few differ
QUARANTINE = "quarantine.parquet"


@dataclass(frozen=True)
class Sequence:
    """One target followed through one video; arrays have one row a frame."""

    name: str
    split: str
    label: str
    images: tuple[str, ...]
    offsets: np.ndarray[Any, Any]
    lengths: np.ndarray[Any, Any]
    sizes_wh: np.ndarray[Any, Any]
    boxes_xywh: np.ndarray[Any, Any]
    visible: np.ndarray[Any, Any]
    dataset: str = ""

    def __len__(self) -> int:
        return len(self.images)


def read(path: Path) -> pd.DataFrame:
    """Read an annotation table without what validation set aside.

    What is set aside stands in quarantine.parquet beside it. Raises DataError when the table is not there
    or not whole, or names an image outside the data folder.
    """
    return spell_out(read_used(path)).copy()  # Arrow's columns cannot be written to


def read_used(path: Path) -> pd.DataFrame:
    """Read the same with names as categories: tables of any size fit, and few rows are spelt out later."""
    table, beside = read_whole(path), path.with_name(QUARANTINE)
    return leave_out(table, _read_aside(beside)) if beside.is_file() else table


def read_whole(path: Path) -> pd.DataFrame:
    """Read all of an annotation table, its names as categories: a third of the memory they take as text."""
    table = _read(path)
    image = table["image"].str
    strays = image.contains("..", regex=False) | image.startswith("/")
    for name in table.loc[strays, "image"]:
        if name.startswith("/") or ".." in name.split("/"):
            raise DataError(
                f"{path} names the image {name!r}, which lies outside the data folder; "
                "run the index step again"
            )
    return table


def spell_out(table: pd.DataFrame) -> pd.DataFrame:
    """Turn names that are categories into text."""
    return table.astype({name: "str" for name in NAMES if name in table})


def leave_out(table: pd.DataFrame, quarantine: pd.DataFrame) -> pd.DataFrame:
    """Drop the frames and sequences that a list of violations says are set aside."""
    whole = quarantine.loc[quarantine["aside"] == "sequence", "sequence"]
    single = quarantine.loc[quarantine["aside"] == "frame", ["sequence", "frame"]]
    if whole.empty and single.empty:
        return table
    gone = table["sequence"].isin(set(whole)).to_numpy(dtype=bool, copy=True)
    near = np.flatnonzero(table["sequence"].isin(set(single["sequence"])))
    keys = pd.MultiIndex.from_frame(spell_out(table.iloc[near][["sequence", "frame"]]))
    gone[near] |= keys.isin(pd.MultiIndex.from_frame(single))
    return table[~gone].reset_index(drop=True)


def _read_aside(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path, columns=["sequence", "frame", "aside"])
    except (OSError, ValueError, KeyError):
        raise DataError(f"{path} is not readable; run the validate step again") from None


def _read(path: Path) -> pd.DataFrame:
    import pyarrow.parquet as pq

    try:
        stored = pq.read_table(path, read_dictionary=NAMES)
        table: pd.DataFrame = stored.to_pandas(
            split_blocks=True, self_destruct=True, ignore_metadata=True
        )
    except (OSError, ValueError) as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else "is not readable"
        raise DataError(f"{path} {reason}; run the index step again") from None
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise DataError(f"{path} lacks the columns {', '.join(missing)}; run the index step again")
    return table


def iterate(table: pd.DataFrame, split: str) -> Iterator[Sequence]:
    """Yield the sequences of one split by name, frames in order."""
    in_order = table[table["split"] == split].sort_values("frame", kind="stable")
    for name, rows in in_order.groupby("sequence", sort=True, observed=True):
        yield Sequence(
            name=str(name),
            split=split,
            label=str(rows["class"].iloc[0]),
            images=tuple(rows["image"]),
            offsets=rows["offset"].to_numpy(),
            lengths=rows["bytes"].to_numpy(),
            sizes_wh=rows[["width", "height"]].to_numpy(),
            boxes_xywh=rows[BOX].to_numpy(dtype=np.float64),
            visible=rows["visible"].to_numpy(dtype=bool),
            dataset=str(rows["dataset"].iloc[0]),
        )
