"""`trackline evaluate`: score a model on a data set of any layout."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from trackline import config

DESCRIPTION = """\
Follow every annotated target of a data set once, from its first box, and score the boxes and classes.
The layout is recognised: got10k, lasot, trackingnet, otb, dtb70, uav123, nfs, vot, davis, mot, tld or
simple (docs/data.md), alone or several in a folder each. A killed run is taken up where it stood.

writes OUT/metrics.json, OUT/predictions.parquet and OUT/slices.csv"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `trackline evaluate`."""
    parser.description = DESCRIPTION
    parser.add_argument(
        "model", help="a package folder, models:/NAME@ALIAS or models:/NAME/VERSION"
    )
    parser.add_argument("data", type=Path, help="folder with footage and annotations")
    parser.add_argument("--out", type=Path, default=Path("evaluated"), help="folder to write to")
    parser.add_argument("--split", help="only this split of the data (train, val, test)")
    parser.add_argument("--slots", type=int, default=16, help="sequences followed in lock-step")
    parser.add_argument("--csrt", action="store_true", help="run OpenCV's CSRT beside it")
    parser.add_argument(
        "--protocol",
        action="append",
        default=[],
        choices=get_args(config.Protocol),
        metavar="NAME",
        help=f"score by a toolkit's rules too: {', '.join(get_args(config.Protocol))}",
    )
    parser.set_defaults(command=_evaluate)


def _evaluate(given: argparse.Namespace) -> None:
    import torch

    import trackline
    from trackline.errors import EmptyDataError
    from trackline.evaluation import bench

    model = trackline.load(given.model)
    if torch.cuda.is_available():
        model.network.to("cuda")
    table = bench.index(given.data, config.Data(path=str(given.data)))
    if given.split is not None:
        table = table[table["split"] == given.split]
        if table.empty:
            raise EmptyDataError(f"{given.data} has no sequence in split {given.split}")
    outcome = bench.evaluate(
        model,
        table,
        given.data,
        given.out,
        slots=given.slots,
        csrt=given.csrt,
        others=tuple(given.protocol),
    )
    print(bench.describe(outcome))
    print(f"wrote {given.out / 'metrics.json'}, predictions.parquet, slices.csv")
