"""Step 2, validate: hold every annotation and every image to the rules; stop when one is broken."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from trackline import config
from trackline.commandline import Parser, exit_code

if TYPE_CHECKING:
    from trackline.validation import Verdict

DESCRIPTION = """\
Hold the annotation table and its images to the rules. Everything is written before a failure ends the step.

reads   artifacts/annotations.parquet, the images below data/
writes  metrics/validate.json, reports/validation.html (one file, works offline),
        artifacts/quarantine.parquet (one row for each violation; empty when there is none)

exit codes   0 passed, perhaps with warnings   3 params.yaml is wrong   10 no readable table   11 no rows
             12 image or annotation missing   13 image damaged   14 box wrong   15 class wrong
             16 another rule broken   64 the command line is wrong"""


def validate(
    annotations: Path,
    data: Path,
    limits: config.Validate,
    classes: tuple[str, ...],
    metrics: Path,
    report: Path,
    quarantine: Path,
) -> Verdict:
    """Judge the footage, write all three files, print the verdict, and give it back when it is good.

    Raises the DataError of the first broken rule after everything is written; and DataError or
    EmptyDataError, with nothing written, when there is no table to judge.
    """
    from trackline import artifacts, validation
    from trackline.data import table

    verdict = validation.validate(table.read_whole(annotations), data, limits, classes)
    page = validation.render(verdict, data)
    artifacts.write_table(quarantine, verdict.quarantine)
    artifacts.write_text(report, page)
    artifacts.write_json(metrics, verdict.tell())
    _print(verdict)
    print(f"wrote {metrics}, {report}, {quarantine}")
    verdict.check(report)
    return verdict


def main(argv: list[str] | None = None) -> int:
    """Run the step from the command line."""
    parser = Parser(prog="python -m components.validate", description=DESCRIPTION)
    add = parser.add_argument
    add("--params", type=Path, default=Path("params.yaml"), help="configuration")
    add("--annotations", type=Path, default=Path("artifacts/annotations.parquet"), help="table")
    add(
        "--data",
        type=Path,
        default=argparse.SUPPRESS,
        help="footage (default: data.path of params)",
    )
    add("--metrics", type=Path, default=Path("metrics/validate.json"), help="verdict to write")
    add("--report", type=Path, default=Path("reports/validation.html"), help="page to write")
    add(
        "--quarantine",
        type=Path,
        default=Path("artifacts/quarantine.parquet"),
        help="violations to write",
    )
    options = parser.parse_args(argv)
    return exit_code(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    params = config.load(options.params)
    validate(
        options.annotations,
        getattr(options, "data", Path(params.data.path)),
        params.validate,
        params.data.classes,
        options.metrics,
        options.report,
        options.quarantine,
    )


def _print(verdict: Verdict) -> None:
    for finding in verdict.findings:
        word = "FAILED" if finding.severity == "error" else finding.severity
        if finding.passed or finding.severity == "ignore":
            print(f"{finding.rule.name:<42} {'ignored' if word == 'ignore' else 'ok'}")
            continue
        print(f"{finding.rule.name:<42} {word:<8}{finding.count:>8} {finding.share:>7.2%}", end="")
        indent = "\n" + " " * 69
        print("  " + indent.join(finding.examples))
    counts = verdict.tell()
    if verdict.aside:
        print(f"set aside: {verdict.aside.frames} frames, {verdict.aside.share:.2%} of all")
    print(
        f"{'passed' if verdict.passed else 'FAILED'}: {counts['rows']} frames of "
        f"{counts['sequences']} sequences, {counts['errors']} rules failed, {counts['warnings']} warned"
    )


if __name__ == "__main__":
    sys.exit(main())
