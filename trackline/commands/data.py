"""`trackline data`: make data."""

from __future__ import annotations

import argparse
from pathlib import Path

from trackline.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Subcommands of `trackline data`."""
    kinds = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_synth(kinds.add_parser("synth", help="draw the synthetic world"))


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
