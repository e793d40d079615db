"""Step 1, index: find every annotated frame and write the annotation table."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from trackline import config
from trackline.commandline import Parser, exit_code

DESCRIPTION = """\
Index the annotated footage: one row for each frame, whether or not it is in order.

reads   data/ in GOT-10k's layout: {train,val,test}/SEQUENCE/ with 00000001.jpg ..., groundtruth.txt
        (x,y,w,h a line) and, if known, absence.label, cover.label and meta_info.ini (object_class);
        sequence folders lie loose or in *.tar shards, or both
writes  artifacts/annotations.parquet

exit codes   0 written   3 params.yaml is wrong   10 a file or shard cannot be read   11 no sequence
             64 the command line is wrong"""


@dataclass(frozen=True)
class Index:
    """How much was found, split by split, and what the lists promise that was not."""

    sequences: dict[str, int]
    frames: dict[str, int]
    lost: tuple[str, ...]


def index(data: Path, annotations: Path) -> Index:
    """Write the annotation table of the footage below `data`, ordered by split, sequence and frame.

    Raises EmptyDataError when there is no sequence, DataError when a shard is damaged or unsafe.
    """
    import pandas as pd
    from tqdm import tqdm

    from trackline import artifacts
    from trackline.data import got10k

    folders = got10k.find(data)
    bar = tqdm(folders, "index", disable=None, unit=" sequences", leave=False)
    table = pd.concat([got10k.read(data, folder) for folder in bar], ignore_index=True)
    artifacts.write_table(annotations, table)
    sequences = Counter(folder.split for folder in folders)
    lost = got10k.find_lost(data, folders)
    return Index(dict(sequences), dict(Counter(table["split"])), tuple(lost))


def main(argv: list[str] | None = None) -> int:
    """Run the step from the command line."""
    parser = Parser(prog="python -m components.index", description=DESCRIPTION)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="configuration")
    parser.add_argument(
        "--data",
        type=Path,
        default=argparse.SUPPRESS,
        help="footage (default: data.path of params)",
    )
    parser.add_argument(
        "--annotations",
        type=Path,
        default=Path("artifacts/annotations.parquet"),
        help="table to write",
    )
    options = parser.parse_args(argv)
    return exit_code(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    params = config.load(options.params)
    found = index(getattr(options, "data", Path(params.data.path)), options.annotations)
    for split, sequences in found.sequences.items():
        print(f"{split:<6} {sequences:>7} sequences {found.frames[split]:>9} frames")
    if found.lost:
        print(
            f"warning: list.txt names {len(found.lost)} sequences that are not there, ",
            end="",
            file=sys.stderr,
        )
        print(f"for example {found.lost[0]}; restore them or shorten the list", file=sys.stderr)
    print(f"wrote {options.annotations}")


if __name__ == "__main__":
    sys.exit(main())
