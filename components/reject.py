"""Reject: keep on record why a candidate was not registered, where a pipeline has no failing step.

Reads metrics/gate.json; writes metrics/reject.json with the verdict and the gates that failed. It is
the other branch of `register`, which refuses by itself when it is called on a rejected verdict.

exit codes: 0 recorded, 10 the verdict cannot be read, 64 the verdict is no rejection
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from trackline import artifacts
from trackline.commandline import Parser, exit_code
from trackline.errors import UsageError


def reject(verdict: Path, out: Path) -> dict[str, Any]:
    """Run the step; returns what it writes: verdict, comparison, and the failed checks with their why."""
    from trackline.evaluation.verdict import read

    judged = read(verdict)
    failed = [check for check in judged["checks"] if not check["passed"]]
    if judged["passed"]:
        raise UsageError(
            f"{verdict} accepts the candidate; register it: python -m components.register"
        )
    result = {
        "verdict": judged["verdict"],
        "comparison": judged["comparison"],
        "failed": [
            {k: check[k] for k in ("name", "value", "threshold", "why")} for check in failed
        ],
    }
    artifacts.write_json(out, result)
    return result


def describe(result: dict[str, Any]) -> str:
    """A line for each gate that failed."""
    lines = [f"{check['name']:<18} {check['why']}" for check in result["failed"]]
    return "\n".join([f"not registered: {result['verdict']}, {result['comparison']}", *lines])


def main(argv: list[str] | None = None) -> int:
    """Run the step from the command line."""
    parser = Parser(prog="python -m components.reject", description=__doc__)
    parser.add_argument("--verdict", type=Path, default=Path("metrics/gate.json"))
    parser.add_argument("--out", type=Path, default=Path("metrics/reject.json"))
    given = parser.parse_args(argv)
    return exit_code(lambda: print(describe(reject(given.verdict, given.out))))


if __name__ == "__main__":
    sys.exit(main())
