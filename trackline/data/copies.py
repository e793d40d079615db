"""The same image twice, byte for byte or to the eye: within a sequence, a split, or across splits."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd

from trackline.data.defects import find_explosions, find_teleports, say
from trackline.data.facts import Facts, Values
from trackline.data.table import BOX

SAME_BITS = 2  # of 64 may differ between one image and another encoding of it
BANDS = tuple(0xFFFF << shift for shift in (0, 16, 32, 48))
NEAR_SHARE = 0.2  # of a sequence's frames that must look like another's to call it a copy


def find_leaks(facts: Facts) -> Values:
    """Frames whose very image is in an earlier split too (train, then val, then test)."""
    rows = _list_prints(facts)
    at = rows["row"].to_numpy()
    first = rows.groupby("print")["row"].transform("first").to_numpy()
    other = dict(zip(at.tolist(), first.tolist(), strict=True))
    bad = np.sort(at[facts.ranks[at] > facts.ranks[first]]).tolist()
    images = facts.table["image"]
    told = (f"same as {images.iloc[other[row]]}" for row in bad)
    return say(np.array(bad, dtype=int), told)


def find_repeats(facts: Facts) -> Values:
    """Frames whose image is that of the frame before, byte for byte or to the eye while the box moves."""
    prints, looks = facts.checks.fingerprints, facts.checks.looks
    follows = ~facts.starts & (np.diff(facts.get("frame"), prepend=-9) == 1)
    same = follows & (prints != 0) & (prints == np.roll(prints, 1))
    x, y, w, h = (facts.get(name) for name in BOX)
    with np.errstate(invalid="ignore", over="ignore"):
        step = np.hypot(x - np.roll(x, 1), y - np.roll(y, 1)) / np.sqrt(np.maximum(w * h, 1))
        alike = np.bitwise_count(looks ^ np.roll(looks, 1)) <= SAME_BITS
        still = (looks != 0) & alike & facts.followed & (step > 1)
    if still.any():  # a box that cannot be right tells nothing of its image
        still[find_teleports(facts).index] = still[find_explosions(facts).index] = False
    at = np.flatnonzero(same | still)
    return say(
        at, ("the same image" if same[i] else "hardly another image, but the box moved" for i in at)
    )


def find_copies(facts: Facts) -> Values:
    """Frames whose very image is in another sequence of the same split, as another file."""
    rows = _list_prints(facts)
    at = rows["row"].to_numpy()
    first = rows.groupby(["print", "rank"])["row"].transform("first").to_numpy()
    images = facts.table["image"]
    other = dict(zip(at.tolist(), first.tolist(), strict=True))
    differ = np.sort(at[facts.codes[at] != facts.codes[first]]).tolist()
    bad = [row for row in differ if images.iloc[row] != images.iloc[other[row]]]
    told = (f"same as {images.iloc[other[row]]}" for row in bad)
    return say(np.array(bad, dtype=int), told)


def find_near_leaks(facts: Facts) -> Values:
    """Sequences that look like one of an earlier split though their files differ: encoded anew, resized."""
    looks = facts.checks.looks
    at = np.flatnonzero(looks != 0)
    rows = pd.DataFrame({"look": looks[at], "rank": facts.ranks[at], "code": facts.codes[at]})
    rows = rows.drop_duplicates(["look", "code"])
    rows = rows.sort_values("rank", kind="stable", ignore_index=True)
    pairs = pd.concat([_pair_alike(rows, a | b) for a, b in combinations(BANDS, 2)])
    shared = pairs.drop_duplicates().groupby(["code", "other"]).size()
    own = rows.groupby("code").size()
    exact = set(facts.codes[find_leaks(facts).index])
    names = facts.units["sequence"]["sequence"]
    hits = {}
    for code, other, count in shared.reset_index(name="count").to_numpy().tolist():
        if count >= max(2, NEAR_SHARE * own[code]) and code not in exact:
            hits[code] = f"{count} frames look like {names.iloc[other]}"
    return say(np.array(sorted(hits), dtype=int), (hits[code] for code in sorted(hits)))


def _pair_alike(rows: pd.DataFrame, bits: int) -> pd.DataFrame:
    """Rows with the first of those that agree in some bits, where that is of an earlier split.

    Looks that differ in SAME_BITS of 64 agree in two of four BANDS at least.
    """
    looks, ranks, codes = (rows[name].to_numpy() for name in ("look", "rank", "code"))
    place = pd.Series(np.arange(len(rows)))
    first = place.groupby(looks & np.uint64(bits)).transform("first").to_numpy()
    alike = np.bitwise_count(looks ^ looks[first]) <= SAME_BITS
    at = np.flatnonzero(alike & (ranks > ranks[first]))
    return pd.DataFrame({"place": at, "code": codes[at], "other": codes[first[at]]})


def _list_prints(facts: Facts) -> pd.DataFrame:
    """Rows with a fingerprint that occurs again, those of earlier splits first."""
    prints = facts.checks.fingerprints
    at = np.flatnonzero(prints != 0)
    again = pd.Series(prints[at]).duplicated(keep=False).to_numpy()
    at = at[again]
    rows = pd.DataFrame({"print": prints[at], "rank": facts.ranks[at], "row": at})
    return rows.sort_values("rank", kind="stable", ignore_index=True)
