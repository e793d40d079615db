"""What the rules look at: the annotation table as arrays, and what was found in its images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from trackline.config import Validate
from trackline.data.images import MISSING, Checks
from trackline.data.table import BOX, spell_out
from trackline.data.tree import SPLITS

Unit: TypeAlias = Literal["frame", "sequence", "split"]
Mask: TypeAlias = np.ndarray[Any, Any]  # of bool, a row each
Values: TypeAlias = "pd.Series[str]"  # of the violations: row number of the unit, and what was seen


@dataclass(frozen=True)
class Facts:
    """All that the rules look at; `table` is sorted, its rows numbered from 0, and `checks` in its order."""

    table: pd.DataFrame
    checks: Checks
    limits: Validate
    classes: tuple[str, ...]  # empty: any class will do

    @cached_property
    def units(self) -> dict[Unit, pd.DataFrame]:
        """What can break a rule, one row each, with sequence, frame and source to find it by."""
        splits = pd.DataFrame({"sequence": "", "frame": -1, "source": list(SPLITS), "line": 0})
        heads = spell_out(self.table[self.starts]).reset_index(drop=True)
        return {"frame": self.table, "sequence": heads, "split": splits}

    @cached_property
    def starts(self) -> Mask:
        """Rows that begin a sequence."""
        names = self.table["sequence"]
        return names.ne(names.shift()).to_numpy(dtype=bool)

    @cached_property
    def codes(self) -> Mask:
        """The number of each row's sequence."""
        codes: Mask = np.cumsum(self.starts) - 1
        return codes

    @cached_property
    def first(self) -> Mask:
        """The number of the first row of each row's sequence."""
        return np.flatnonzero(self.starts)[self.codes]

    @cached_property
    def ranks(self) -> Mask:
        """The number of each row's split: train, val, then test."""
        codes, names = pd.factorize(self.table["split"])
        order = {name: rank for rank, name in enumerate(SPLITS)}
        return np.array([order.get(name, len(SPLITS)) for name in names], dtype=np.int64)[codes]

    @cached_property
    def absent(self) -> Mask:
        """Frames without an image."""
        absent: Mask = (self.get("bytes") < 0) | (self.checks.problems == MISSING)
        return absent

    @cached_property
    def annotated(self) -> Mask:
        """Frames with a line in the annotation file."""
        annotated: Mask = self.get("line") > 0
        return annotated

    @cached_property
    def finite(self) -> Mask:
        """Frames with a visible target and four finite numbers for it."""
        sound = self.get("visible").copy()
        for name in BOX:
            sound &= np.isfinite(self.get(name))
        return sound

    @cached_property
    def positive(self) -> Mask:
        """Frames with a visible target and a box of some area."""
        return self.finite & (self.get("w") > 0) & (self.get("h") > 0)

    @cached_property
    def followed(self) -> Mask:
        """Frames with such a box whose frame before has one too."""
        follows = ~self.starts & (np.diff(self.get("frame"), prepend=-9) == 1)
        sound: Mask = self.positive & ~(self.outside & ~self.get("amodal")) & ~self.beside
        followed: Mask = sound & follows & np.roll(sound, 1)
        return followed

    @cached_property
    def outside(self) -> Mask:
        """Frames whose box reaches further beyond the image than the tolerance."""
        slack = self.limits.outside_tolerance_px
        x, y, w, h = (self.get(name) for name in BOX)
        width, height = self.get("width"), self.get("height")
        with np.errstate(invalid="ignore"):
            beyond = (width > 0) & ((x + w > width + slack) | (y + h > height + slack))
            out: Mask = self.positive & (beyond | (x < -slack) | (y < -slack))
        return out

    @cached_property
    def beside(self) -> Mask:
        """Frames whose box has nothing in common with the image."""
        x, y, w, h = (self.get(name) for name in BOX)
        width, height = self.get("width"), self.get("height")
        with np.errstate(invalid="ignore"):
            away = (width > 0) & ((x >= width) | (y >= height))
            beside: Mask = self.positive & (away | (x + w <= 0) | (y + h <= 0))
        return beside

    def get(self, name: str) -> Mask:
        """One column as an array."""
        return self.table[name].to_numpy()
