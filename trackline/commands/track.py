"""`trackline track`: follow a target through a video."""

from __future__ import annotations

import argparse
from pathlib import Path

from trackline.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `trackline track`."""
    parser.description = (
        "Follow the target from its box in the first frame; write boxes.csv and tracked.mp4."
    )
    parser.add_argument("source", type=Path, help="a video file or a folder of frames")
    parser.add_argument("--box", required=True, help="x,y,w,h in pixels of the first frame")
    parser.add_argument(
        "--model",
        default="models:/tracker@candidate",
        help="a package folder, models:/NAME@ALIAS or models:/NAME/VERSION",
    )
    parser.add_argument("--out", type=Path, default=Path("tracked"), help="folder to write to")
    parser.set_defaults(command=_track)


def _track(given: argparse.Namespace) -> None:
    box = parse_box(given.box)
    import numpy as np

    import trackline
    from trackline.tracking.video import follow_video

    outcome = follow_video(trackline.load(given.model), given.source, np.array(box), given.out)
    kind = f", taken for a {outcome.label}" if outcome.label else ""
    print(f"{outcome.frames} frames{kind}: {outcome.table}, {outcome.video}")


def parse_box(text: str) -> tuple[float, ...]:
    """Four numbers of a command line; raises UsageError."""
    try:
        x, y, w, h = (float(v) for v in text.split(","))
    except ValueError:
        raise UsageError(
            f"--box is {text!r}; give four numbers, left,top,width,height in pixels: --box 10,20,64,48"
        ) from None
    return x, y, w, h
