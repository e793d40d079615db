"""Readers fed with anything: they give a table or one sentence, and never hang, crash or write.

FUZZ=N tries N examples of each instead of a few: make fuzz.
"""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.layouts.test_layouts import MINIATURES, lay
from trackline import config
from trackline.data import footage, images, shards
from trackline.data.layouts.text import parse_boxes, parse_flags
from trackline.data.shards import Entry
from trackline.data.table import COLUMNS
from trackline.data.tree import decode
from trackline.errors import ConfigError, DataError, TracklineError

T = TypeVar("T")

FUZZ = settings(
    max_examples=int(os.environ.get("FUZZ", "15")),
    deadline=None,
    derandomize="FUZZ" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
WORDS = st.sampled_from(
    [
        "0", "1", "-1", "7.5", "1e9", "1e308", "-0", "NaN", "inf", "9" * 400, "1_000", "0x1F", "٣", "²",
        "", " ", '"', "'", "#", "frame", "x", "=", "[", "]", ":", "\x00", "\x1b[2J", "\ufeff", "é",
    ]
)  # fmt: skip
JOINTS = st.sampled_from([",", ", ", " ", "\t", ";", ",,"])
ENDS = st.sampled_from(["\n", "\r\n", "\r", "\n\n", "\u2028"])


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """Something like an annotation file."""
    joint, end = draw(JOINTS), draw(ENDS)
    lines = draw(st.lists(st.lists(WORDS | st.floats().map(str), max_size=10), max_size=6))
    text = end.join(joint.join(line) for line in lines)
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1"]))
    return text.encode(encoding, "ignore")


def attempt(
    read: Callable[[], T], refusal: type[TracklineError] = DataError
) -> tuple[T | None, str]:
    """What reading gives, or the sentence it is refused with."""
    try:
        return read(), ""
    except refusal as error:
        return None, str(error)


def mutate(data: bytes, cuts: list[tuple[int, int]], kept: float) -> bytes:
    """Overwrite some bytes, and cut the end off."""
    changed = bytearray(data)
    for place, value in cuts:
        changed[place % len(changed)] = value
    return bytes(changed[: max(1, round(kept * len(changed)))])


MUTATIONS = {
    "cuts": st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=8),
    "kept": st.sampled_from([1.0, 1.0, 0.9, 0.5, 0.1]),
}


@pytest.mark.parametrize("layout", MINIATURES)
@FUZZ
@given(data=st.data())
def test_a_layout_with_any_annotation(layout: str, data: st.DataObject) -> None:
    files, pictures, _, _ = MINIATURES[layout]
    with tempfile.TemporaryDirectory() as folder:
        root = lay(Path(folder), files, *pictures)
        spoilt = data.draw(st.sampled_from(sorted(files)))
        (root / spoilt).write_bytes(data.draw(tables()))
        before = sorted(root.rglob("*"))
        table, refusal = attempt(lambda: footage.read_all(root))
        assert "\n" not in refusal
        if table is not None:
            assert {name: str(table[name].dtype) for name in COLUMNS} == COLUMNS
        assert sorted(root.rglob("*")) == before


@FUZZ
@given(text=tables())
def test_annotation_text(text: bytes) -> None:
    said, refusal = attempt(lambda: decode(text, "boxes.txt"))
    if said is None:
        assert refusal.startswith("boxes.txt")
        return
    boxes, lines = parse_boxes(said), said.rstrip()
    assert boxes.shape == (lines.count("\n") + bool(lines), 4)
    assert parse_flags(said).ndim == 1


def pack() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in ("a/1.jpg", "a/" + "é" * 120 + "2.jpg", "a/groundtruth.txt"):
            member = tarfile.TarInfo(name)
            member.size = 700
            tar.addfile(member, io.BytesIO(b"x" * 700))
    return packed.getvalue()


@FUZZ
@given(**MUTATIONS)
def test_a_damaged_shard(cuts: list[tuple[int, int]], kept: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shard = Path(folder, "s.tar")
        data = mutate(pack(), cuts, kept)
        shard.write_bytes(data)
        entries, refusal = attempt(lambda: shards.index(shard, "s.tar"))
    assert entries is not None or "s.tar" in refusal
    assert all(0 <= e.offset <= e.offset + e.bytes <= len(data) for e in entries or ())


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@FUZZ
@given(**MUTATIONS)
def test_a_damaged_image(suffix: str, cuts: list[tuple[int, int]], kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    data = mutate(cv2.imencode(suffix, noise)[1].tobytes(), cuts, kept)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, f"1{suffix}").write_bytes(data)
        width, height = images.read_size(Path(folder), Entry(f"1{suffix}", -1, len(data)))
    assert width >= 0 <= height
    problem, _, _ = images._examine(data, 1, 100.0)
    assert "\n" not in problem


@FUZZ
@given(
    text=st.text()
    | st.recursive(
        st.sampled_from(
            ["1", "a", "!!python/object:os.system {}", "&a [*a]", "!t x", "{", "%", "? -"]
        ),
        lambda parts: st.lists(parts, max_size=3).map(lambda p: "data:\n  " + "\n  ".join(p)),
    )
)
def test_params_of_any_text(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "params.yaml")
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        params, refusal = attempt(lambda: config.load(path), ConfigError)
    assert params is not None or "params.yaml" in refusal
