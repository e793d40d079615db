"""The `trackline` command: what people do by hand beside the pipeline's steps."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from trackline import artifacts, config
from trackline.commandline import Parser, exit_code
from trackline.errors import UsageError

Command = Callable[[argparse.Namespace], None]


def main(argv: list[str] | None = None) -> int:
    """Run one command."""
    given = make_parser().parse_args(argv)
    command: Command = given.command
    return exit_code(lambda: command(given))


def make_parser() -> Parser:
    """The commands and their options."""
    parser = Parser(
        prog="trackline",
        description="Track targets with a trained model, look at the configuration, make data.\n"
        "The pipeline itself is `dvc repro`; each step is `python -m components.<step> --help`.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_track(commands.add_parser("track", help="follow a target through a video"))
    _add_params(commands.add_parser("params", help="check params.yaml and print what is in force"))
    _add_model(commands.add_parser("model", help="build the network and count its parameters"))
    _add_status(commands.add_parser("status", help="say where the last run stands"))
    data = commands.add_parser("data", help="make data")
    kinds = data.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_synth(kinds.add_parser("synth", help="draw the synthetic world"))
    return parser


def _add_track(parser: argparse.ArgumentParser) -> None:
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


def _add_params(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.set_defaults(command=_print_params)


def _print_params(given: argparse.Namespace) -> None:
    import yaml

    print(yaml.safe_dump(config.plain(config.load(given.params)), sort_keys=False).rstrip())


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.set_defaults(command=_count_parameters)


def _count_parameters(given: argparse.Namespace) -> None:
    params = config.load(given.params)
    from trackline.models.network import Network

    network = Network(params.model, len(params.data.classes))
    for name, part in network.named_children():
        print(f"{name:12s} {sum(p.numel() for p in part.parameters()):>12,}")
    print(f"{'total':12s} {sum(p.numel() for p in network.parameters()):>12,} parameters")


def _add_status(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Say what the last run's gates decided, what was registered, and where to look."
    )
    parser.set_defaults(command=_print_status)


def _print_status(_: argparse.Namespace) -> None:
    verdict, version = (Path("metrics") / f"{name}.json" for name in ("gate", "register"))
    for path in (verdict, version):
        if not path.is_file():
            raise UsageError(f"{path} does not exist; run the pipeline first: dvc repro")
    gate, registered = artifacts.read_json(verdict), artifacts.read_json(version)
    held = sum(check["passed"] for check in gate["checks"])
    print(
        f"gates       {held} of {len(gate['checks'])} passed: {gate['verdict']}, {gate['comparison']}"
    )
    print(
        f"registered  {registered['name']} version {registered['version']}, {registered['alias']}"
    )
    print(f"report      {Path('reports/index.html').resolve()}")
    print(f"registry    mlflow ui --host 127.0.0.1 --backend-store-uri {registered['registry']}")


def _add_synth(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Draw the synthetic world in GOT-10k's layout; the same seed gives the same bytes."
    )
    parser.add_argument("out", type=Path, help="folder to make")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--force", action="store_true", help="replace a folder that is not empty")
    parser.set_defaults(command=_synthesise)


def _synthesise(given: argparse.Namespace) -> None:
    from trackline.data.synth import synthesise

    try:
        print(f"wrote {synthesise(given.out, seed=given.seed, force=given.force)}")
    except ValueError as error:
        raise UsageError(str(error)) from None


if __name__ == "__main__":
    sys.exit(main())
