"""`trackline params`: check the configuration and print what is in force."""

from __future__ import annotations

import argparse
from pathlib import Path

from trackline import config, records


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `trackline params`."""
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.set_defaults(command=_print_params)


def _print_params(given: argparse.Namespace) -> None:
    import yaml

    print(yaml.safe_dump(records.plain(config.load(given.params)), sort_keys=False).rstrip())
