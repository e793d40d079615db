"""Step 3, drift: profile the training data and tell how far it has moved from the champion's."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trackline import champion, config
from trackline.commandline import Parser, exit_code
from trackline.errors import TracklineError

if TYPE_CHECKING:
    import pandas as pd

    from trackline.data.profile import Profile
    from trackline.drift import Comparison

DESCRIPTION = """\
Profile the training split (size, motion, light, class ... of each sequence) and compare it with a reference.
The verdict is one of: no reference, too few sequences, none, warn, drift. It never stops the pipeline.

reads   artifacts/annotations.parquet, some images below data/, a reference profile if there is one, and the
        model beside it, whose network sees crops of today's targets
writes  artifacts/profile.json, metrics/drift.json, reports/drift.html (one file, works offline)

exit codes   0 written, whatever the verdict   3 params.yaml is wrong   10 no readable table or reference
             11 no sequence in the training split   64 the command line is wrong"""


def drift(
    annotations: Path,
    data: Path,
    reference: Path | None,
    limits: config.Drift,
    profile: Path,
    metrics: Path,
    report: Path,
) -> Comparison:
    """Write the profile, the verdict and the report; `reference` is an earlier profile, or None.

    Raises DataError without a readable table or reference, EmptyDataError without a training sequence.
    """
    from trackline import artifacts
    from trackline.data import table
    from trackline.data.profile import describe, read
    from trackline.drift import compare, render

    earlier, rows = read(reference) if reference else None, table.read_used(annotations)
    current = describe(rows, data, "train", limits)
    seen = current
    if reference and earlier and len(earlier.embedding):
        seen = see(current, reference.parent, rows, data)
    comparison = compare(seen, earlier, limits)
    current.write(profile)
    artifacts.write_text(report, render(comparison, seen, earlier))
    artifacts.write_json(metrics, comparison.tell(seen, earlier))
    return comparison


def see(profile: Profile, model: Path, rows: pd.DataFrame, data: Path) -> Profile:
    """Add crops as the network of a package sees them; none, with a warning, where it cannot be loaded."""
    from trackline.models import package
    from trackline.models.embedding import embed

    try:
        network = package.load(model).network
    except TracklineError as error:
        print(f"warning: {error}; the embedding is not compared", file=sys.stderr)
        return profile
    return replace(profile, embedding=embed(network, rows, data, profile.split))


def find_reference(pin: Path, settings: config.Registry) -> Path | None:
    """Find the profile of the data that the champion was trained on; None when there is no champion.

    Raises RegistryError or PackageError when the pinned champion cannot be had.
    """
    folder = champion.fetch_champion(pin, settings)
    return None if folder is None else folder / "model" / "profile.json"


def main(argv: list[str] | None = None) -> int:
    """Run the step from the command line."""
    parser = Parser(prog="python -m components.drift", description=DESCRIPTION)
    add = parser.add_argument
    add("--params", type=Path, default=Path("params.yaml"), help="configuration")
    add("--annotations", type=Path, default=Path("artifacts/annotations.parquet"), help="table")
    add(
        "--data",
        type=Path,
        default=argparse.SUPPRESS,
        help="footage (default: data.path of params)",
    )
    add(
        "--reference",
        type=Path,
        default=argparse.SUPPRESS,
        help="profile to compare with (default: the pinned champion's)",
    )
    add("--champion", type=Path, default=champion.PIN, help="the champion's pin")
    add("--profile", type=Path, default=Path("artifacts/profile.json"), help="profile to write")
    add("--metrics", type=Path, default=Path("metrics/drift.json"), help="verdict to write")
    add("--report", type=Path, default=Path("reports/drift.html"), help="page to write")
    options = parser.parse_args(argv)
    return exit_code(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    params = config.load(options.params)
    given = getattr(options, "reference", None)
    comparison = drift(
        options.annotations,
        getattr(options, "data", Path(params.data.path)),
        given or find_reference(options.champion, params.registry),
        params.drift,
        options.profile,
        options.metrics,
        options.report,
    )
    for feature in comparison.features:
        if feature.moved:
            print(f"{feature.name:<14} moved: {feature.score:.3f} > {feature.threshold:.3f}")
    print(f"drift: {comparison.verdict}")
    print(f"wrote {options.profile}, {options.metrics}, {options.report}")


if __name__ == "__main__":
    sys.exit(main())
