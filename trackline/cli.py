"""The `trackline` command: what people do by hand beside the pipeline's steps."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable

from trackline.commandline import Parser, exit_code

Command = Callable[[argparse.Namespace], int | None]

# name: the module with its add_arguments(parser), and a line of help
COMMANDS = {
    "evaluate": ("trackline.commands.evaluate", "score a model on a data set of any layout"),
    "track": ("trackline.commands.track", "follow a target through a video"),
    "params": ("trackline.commands.params", "check params.yaml and print what is in force"),
    "model": ("trackline.commands.model", "build the network and count its parameters"),
    "weights": ("trackline.commands.weights", "make a package of weights made elsewhere"),
    "compare": ("components.compare", "train every variant under one budget and print one table"),
    "status": ("trackline.commands.status", "say where the last run stands"),
    "registry": ("components.registry", "list, fetch, verify, promote and roll back versions"),
    "data": ("trackline.commands.data", "make data"),
    "pipeline": ("pipelines.commands", "run the pipeline on Kubeflow, or its graph here"),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command."""
    given = make_parser().parse_args(argv)
    command: Command = given.command
    return exit_code(lambda: command(given))


def make_parser() -> Parser:
    """The commands and their options."""
    parser = Parser(
        prog="trackline",
        description="Track targets with a trained model, look at the configuration, make data and weights.\n"
        "The pipeline itself is `dvc repro`; each step is `python -m components.<step> --help`.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, (module, explanation) in COMMANDS.items():
        importlib.import_module(module).add_arguments(commands.add_parser(name, help=explanation))
    return parser


if __name__ == "__main__":
    sys.exit(main())
