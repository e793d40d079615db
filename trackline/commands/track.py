"""`trackline track`: follow a target through a video."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackline.errors import DataError, UsageError

if TYPE_CHECKING:
    from trackline.data.table import Sequence
    from trackline.tracking.source import Source

DESCRIPTION = """\
Follow a target from its box in the first frame: the one given with --box, else the annotation's where
the footage has one (any layout of docs/data.md), else the one you draw in a window.

writes OUT/boxes.csv and OUT/boxes.json (box, confidence and class of each frame) and OUT/tracked.mp4"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `trackline track`."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "source", type=Path, help="a video file, a folder of frames or of annotated sequences"
    )
    parser.add_argument("--box", help="x,y,w,h in pixels of the first frame")
    parser.add_argument("--sequence", help="which one, where the folder holds several")
    parser.add_argument(
        "--model",
        default="models:/tracker@candidate",
        help="a package folder, models:/NAME@ALIAS or models:/NAME/VERSION",
    )
    parser.add_argument("--out", type=Path, default=Path("tracked"), help="folder to write to")
    parser.set_defaults(command=_track)


def _track(given: argparse.Namespace) -> None:
    box = None if given.box is None else parse_box(given.box)
    source, box = choose(given.source, given.sequence, box)
    import numpy as np
    import torch

    import trackline
    from trackline.tracking.video import follow

    device = "cuda" if torch.cuda.is_available() else "cpu"
    outcome = follow(trackline.load(given.model, device), source, np.array(box), given.out)
    if source.frames and outcome.frames < source.frames:
        print(
            f"warning: {source.name} states {source.frames} frames, {outcome.frames} could be decoded; "
            "it may be cut off",
            file=sys.stderr,
        )
    kind = f", taken for a {outcome.label}" if outcome.label else ""
    print(f"{outcome.frames} frames{kind}: {outcome.table}, boxes.json, {outcome.video}")


def choose(path: Path, name: str | None, box: Any) -> tuple[Source, Any]:
    """The frames and the first box: as given, else as annotated, else as drawn by hand."""
    from trackline.tracking.source import find_sequences, open_path, open_sequence
    from trackline.tracking.window import ask_box

    source = open_path(path)
    if name is None and box is not None and source.frames != 0:
        return source, box
    root, sequences = find_sequences(path)
    if not sequences and name is None:
        return source, ask_box(source.read_first()) if box is None else box
    sequence = pick(sequences, name, path)
    if box is None and not (sequence.visible[0] and (sequence.boxes_xywh[0, 2:] > 0).all()):
        raise DataError(f"the first frame of {sequence.name} has no box; give one with --box")
    return open_sequence(sequence, root), sequence.boxes_xywh[0] if box is None else box


def pick(sequences: list[Sequence], name: str | None, path: Path) -> Sequence:
    """The sequence of that name, or the only one; raises UsageError listing what there is."""
    found = [s for s in sequences if name in (None, s.name)]
    if len(found) == 1:
        return found[0]
    names = [s.name for s in sequences]
    known = ", ".join(names[:8]) + f" and {len(names) - 8} more" * (len(names) > 8)
    problem = f"{path} has {len(names)} sequences" if name is None else f"{path} has no {name!r}"
    raise UsageError(f"{problem}; name one with --sequence: {known}")


def parse_box(text: str) -> tuple[float, ...]:
    """Four numbers of a command line; raises UsageError."""
    try:
        x, y, w, h = (float(v) for v in text.split(","))
    except ValueError:
        raise UsageError(
            f"--box is {text!r}; give four numbers, left,top,width,height in pixels: --box 10,20,64,48"
        ) from None
    return x, y, w, h
