"""`trackline status`: where the last run stands."""

from __future__ import annotations

import argparse
from pathlib import Path

from trackline import artifacts
from trackline.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `trackline status`."""
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
