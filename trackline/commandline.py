"""The command line's manners, shared by every entry point: help that teaches, exit codes that mean."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from trackline.errors import TracklineError, UsageError
from trackline.redaction import redacted_output


class Parser(argparse.ArgumentParser):
    """An argument parser that shows defaults and leaves with UsageError's code on a bad line."""

    def __init__(self, description: str | None = None, **options: object) -> None:
        options.setdefault("formatter_class", _Help)
        super().__init__(description=description, **options)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(UsageError.exit_code, f"error: {message}\n")


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keep the line breaks of descriptions, and say what each default is that is a value."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, []):
            return action.help
        return super()._get_help_string(action)


def exit_code(command: Callable[[], int | None]) -> int:
    """Run a command; an expected failure becomes one sentence on stderr and its own exit code."""
    with redacted_output():
        try:
            return command() or 0
        except TracklineError as error:
            print(f"error: {error}", file=sys.stderr)
            return error.exit_code
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130
