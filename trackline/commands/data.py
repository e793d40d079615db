"""`trackline data`: look at footage, bring it under DVC, draw some."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from trackline.errors import UsageError

if TYPE_CHECKING:
    from trackline.data.inspection import Inspection

INSPECT = """\
Look at a folder of annotated footage before it is used: which layout it has, how many sequences and
frames, classes and sizes, what is wrong with it and how to mend that, and a picture with boxes drawn.
Nothing in the folder is changed.

  trackline data inspect ~/Downloads/LaSOT --sheet sheet.png
  trackline data inspect clips --layout simple"""

ADD = """\
Copy a folder of annotated footage to data/NAME and let DVC hold it: many small files become tar shards,
videos stay as they are. It is looked at first; a folder that cannot be read is refused.

  trackline data add ~/Downloads/LaSOT --as lasot

Where data.dvc holds the whole of data/ (the demo does), remove it first: dvc remove data.dvc; rm -r data
To keep the demo beside it: trackline data add demo --as demo"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Subcommands of `trackline data`."""
    kinds = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    raw = argparse.RawDescriptionHelpFormatter
    _add_inspect(
        kinds.add_parser("inspect", help="say what a folder of footage holds", formatter_class=raw)
    )
    _add_add(
        kinds.add_parser("add", help="bring a folder of footage under DVC", formatter_class=raw)
    )
    _add_synth(kinds.add_parser("synth", help="draw the synthetic world"))


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    parser.description = INSPECT
    parser.add_argument("path", type=Path, help="folder of footage")
    parser.add_argument("--layout", default=None, help="its layout, where files do not tell it")
    parser.add_argument(
        "--sheet", type=Path, help="picture to write, .png or .jpg, or .html with the text"
    )
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="configuration")
    parser.set_defaults(command=_inspect)


def _add_add(parser: argparse.ArgumentParser) -> None:
    parser.description = ADD
    parser.add_argument("path", type=Path, help="folder of footage")
    parser.add_argument("--as", dest="name", required=True, help="what to call the data set")
    parser.set_defaults(command=_bring_in)


def _add_synth(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Draw the synthetic world in GOT-10k's layout; the same seed gives the same bytes."
    )
    parser.add_argument("out", type=Path, help="folder to make")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--force", action="store_true", help="replace a folder that is not empty")
    parser.set_defaults(command=_synthesise)


def _inspect(given: argparse.Namespace) -> None:
    from trackline import config, records
    from trackline.data import inspection

    params = config.load(given.params) if given.params.is_file() else config.Params()
    chosen = records.plain(params.data) | ({"layout": given.layout} if given.layout else {})
    settings = records.parse(config.Data, {**chosen, "classes": []}, "data")
    seen = inspection.inspect(given.path, settings, params.validate)
    told = _describe(seen, given.path)
    print(told)
    if given.sheet:
        inspection.write_sheet(given.sheet, inspection.draw_sheet(seen.table, given.path), told)
        print(f"wrote {given.sheet}")


def _describe(seen: Inspection, path: Path) -> str:
    table = seen.table
    layouts = {one.dataset: one.layout for one in seen.found}
    lines = [f"{'data set':<24} {'layout':<12} {'sequences':>9} {'frames':>9}  image sizes"]
    for name, rows in table.groupby("dataset"):
        sizes = rows[["width", "height"]].drop_duplicates().to_numpy().tolist()
        sizes = [size for size in sizes if size != [0, 0]]
        told = ", ".join(f"{w}x{h}" for w, h in sizes[:4]) or "no image"
        told += " ..." * (len(sizes) > 4)
        count = rows["sequence"].nunique()
        lines.append(f"{name!s:<24} {layouts[str(name)]:<12} {count:>9} {len(rows):>9}  {told}")
    first = table.drop_duplicates("sequence")
    classes = first["class"].value_counts().items()
    lines.append("classes: " + ", ".join(f"{name or '(none)'} {n}" for name, n in classes))
    lines.append(
        "splits: " + ", ".join(f"{k} {n}" for k, n in first["split"].value_counts().items())
    )
    for problem in seen.problems:
        units = problem.unit + "s" * (problem.count != 1)
        lines.append(
            f"{problem.severity:<8} {problem.rule:<42} {problem.count:>7} {units}, {problem.share:.1%}"
        )
        lines += [f"         {example}" for example in problem.examples]
        lines.append(f"         remedy: {problem.remedy}")
    for folder, count in sorted(seen.left_over.items()):
        lines.append(f"note: {count} images or videos in {folder} belong to no sequence")
    lines += [] if seen.problems else ["no problem found"]
    mended = ", once the errors are mended" * any(p.severity == "error" for p in seen.problems)
    return "\n".join([*lines, f"next: trackline data add {path} --as NAME{mended}"])


def _bring_in(given: argparse.Namespace) -> None:
    from trackline.data import intake

    print(intake.bring_in(given.path, given.name))


def _synthesise(given: argparse.Namespace) -> None:
    from trackline.data.synth import synthesise

    try:
        print(f"wrote {synthesise(given.out, seed=given.seed, force=given.force)}")
    except ValueError as error:
        raise UsageError(str(error)) from None
