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
Index the annotated footage: one row for each frame of each target, whether or not it is in order.

reads   data/ in any of the layouts got10k, lasot, trackingnet, otb, dtb70, uav123, nfs, vot, davis, mot,
        tld, simple (docs/data.md), as loose files or *.tar shards; several data sets lie in a folder each
writes  artifacts/annotations.parquet

exit codes   0 written   3 params.yaml is wrong   10 a file or shard cannot be read   11 no sequence
             64 the command line is wrong"""


@dataclass(frozen=True)
class Index:
    """How much was found, split by split, the classes that are not listed, and what lists promise."""

    sequences: dict[str, int]
    frames: dict[str, int]
    layouts: dict[str, str]  # by data set
    unlisted: dict[str, int]  # sequences by a class that data.classes does not list
    lost: tuple[str, ...]


def index(data: Path, annotations: Path, settings: config.Data | None = None) -> Index:
    """Write the annotation table of the footage below `data`, ordered by split, sequence and frame.

    Raises EmptyDataError when there is no sequence, DataError when a file is damaged or unsafe.
    """
    from tqdm import tqdm

    from trackline import artifacts
    from trackline.data import footage

    settings = settings or config.Data()
    found = footage.find(data, settings)
    bar = tqdm(found, "index", disable=None, unit=" sequences", leave=False)
    table = footage.join(rows for one in bar for rows in footage.read(one, settings.class_map))
    artifacts.write_table(annotations, table)
    first = table.drop_duplicates("sequence")
    unlisted = Counter(first["class"][~first["class"].isin(settings.classes)])
    return Index(
        dict(Counter(first["split"])),
        dict(Counter(table["split"])),
        {one.dataset: one.layout for one in found},
        dict(unlisted.most_common()) if settings.classes else {},
        tuple(footage.find_lost(found)),
    )


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
    data = getattr(options, "data", Path(params.data.path))
    found = index(data, options.annotations, params.data)
    for dataset, layout in sorted(found.layouts.items()):
        print(f"{dataset}: {layout}")
    for split, sequences in found.sequences.items():
        print(f"{split:<6} {sequences:>7} sequences {found.frames[split]:>9} frames")
    if found.lost:
        print(
            f"warning: list.txt names {len(found.lost)} sequences that are not there, ",
            end="",
            file=sys.stderr,
        )
        print(f"for example {found.lost[0]}; restore them or shorten the list", file=sys.stderr)
    if found.unlisted:
        told = ", ".join(f"{name or '(none)'} {count}" for name, count in found.unlisted.items())
        print(
            f"warning: classes that data.classes does not list, with sequences: {told}; ",
            end="",
            file=sys.stderr,
        )
        print("add them there, or say in data.class_map which class they are", file=sys.stderr)
    print(f"wrote {options.annotations}")


if __name__ == "__main__":
    sys.exit(main())
