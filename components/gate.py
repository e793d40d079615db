"""Gate: weigh the evaluation against the thresholds and the champion, and write the verdict.

Reads metrics/{evaluate,validate,drift}.json, the predictions, the model package, the thresholds in
params.yaml and the champion that champion.json pins; writes metrics/gate.json, which is bound by hash
to all of these, reports/index.html and its short form reports/summary.md. A rejected model is a result
and no failure of this step: the exit code is 0 and `register` refuses.

exit codes: 0 judged, 3 params.yaml, 10 metrics or predictions cannot be read, 11 no frame was scored,
20 the champion cannot be fetched, 21 a model package was altered
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackline import champion, config
from trackline.commandline import Parser, exit_code
from trackline.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from trackline.evaluation.comparison import Champion
    from trackline.evaluation.gates import Evidence


@dataclass(frozen=True)
class Inputs:
    """What the step reads; `champion_predictions` stand in for those that the registry keeps."""

    model: Path = Path("artifacts/model")
    metrics: Path = Path("metrics/evaluate.json")
    predictions: Path = Path("artifacts/predictions.parquet")
    validation: Path = Path("metrics/validate.json")
    drift: Path = Path("metrics/drift.json")
    champion: Path = champion.PIN
    champion_predictions: Path | None = None
    annotations: Path = Path("artifacts/annotations.parquet")
    curves: Path = Path("plots/train.csv")
    success: Path = Path("plots/success.csv")
    precision: Path = Path("plots/precision.csv")


@dataclass(frozen=True)
class Outputs:
    """What the step writes."""

    verdict: Path = Path("metrics/gate.json")
    report: Path = Path("reports/index.html")
    summary: Path = Path("reports/summary.md")


def gate(params: config.Params, inputs: Inputs, outputs: Outputs) -> dict[str, Any]:
    """Run the step; returns the verdict."""
    from trackline.data import table
    from trackline.evaluation import gates, verdict

    files = verdict.Judged(inputs.model, inputs.metrics, inputs.predictions)
    bound = verdict.bind(files, champion.read_pin(inputs.champion).sha256, params.gate)
    annotations = table.read(inputs.annotations)
    measured = verdict.read(inputs.metrics)
    evidence = gates.Evidence(
        metrics=measured,
        predictions=read_predictions(inputs.predictions),
        validation=read_if_present(inputs.validation),
        drift=read_if_present(inputs.drift),
        weights_sha256=str(bound["weights_sha256"]),
        champion=read_champion(params, inputs),
        truth=annotations[annotations["split"] == params.evaluate.split],
        sealed=verdict.is_sealed(measured),
    )
    sampling = params.evaluate
    judged = gates.judge(
        evidence,
        params.gate,
        resamples=sampling.bootstrap,
        seed=sampling.seed,
        min_slice_sequences=sampling.min_slice_sequences,
    )
    verdict.write(outputs.verdict, judged, bound)
    write_report(params, inputs, outputs, evidence, {**judged, "bound": bound})
    return judged


def write_report(
    params: config.Params,
    inputs: Inputs,
    outputs: Outputs,
    evidence: Evidence,
    judged: dict[str, Any],
) -> None:
    """Write the page that explains the verdict, and its short form."""
    from trackline import artifacts
    from trackline.evaluation import metrics, report, slices, summary

    truth = evidence.truth
    assert truth is not None
    other = evidence.champion
    lineage = artifacts.read_json(inputs.model / "lineage.json")
    settings = params.evaluate
    sliced = slices.summarise(
        evidence.predictions, truth, min_sequences=settings.min_slice_sequences
    )
    text = summary.summarise(judged, evidence.metrics, sliced, lineage)
    artifacts.write_text(outputs.summary, text)
    report.write_report(
        outputs.report,
        report.Inputs(
            metrics=evidence.metrics,
            gate=judged,
            matched=evidence.predictions,
            truth=truth,
            root=Path(params.data.path),
            training=read_table(inputs.curves),
            classes=params.data.classes,
            lineage=lineage,
            slices=sliced,
            baselines=tuple(read_table(path) for path in (inputs.success, inputs.precision)),
            champion=None if other is None else metrics.match(truth, other.predictions),
        ),
    )


def read_champion(params: config.Params, inputs: Inputs) -> Champion | None:
    """Read what the pinned champion predicted; None when none is pinned."""
    from trackline.evaluation import verdict
    from trackline.evaluation.comparison import Champion

    folder = champion.fetch_champion(inputs.champion, params.registry)
    if folder is None:
        return None
    number = int(folder.name)
    if inputs.champion_predictions is not None:
        return Champion(number, read_predictions(inputs.champion_predictions))
    bound = verdict.read(folder / "evaluation" / "gate.json")["bound"]
    predictions = read_predictions(folder / "evaluation" / "predictions.parquet")
    return Champion(number, predictions, bound["evaluation_data_sha256"])


def read_predictions(path: Path) -> pd.DataFrame:
    """Read predictions with their overlaps; raises DataError when they cannot be used."""
    import pandas as pd

    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no table ({error}); run the evaluate step again") from None
    if missing := {"sequence", "frame", "iou"} - set(table):
        raise DataError(f"{path} lacks {', '.join(sorted(missing))}; run the evaluate step again")
    return table


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV that a step before may have written; empty without it."""
    import pandas as pd

    return pd.read_csv(path) if path.exists() else pd.DataFrame()


def read_if_present(path: Path) -> dict[str, Any]:
    """Read another step's result, empty when that step did not run: the gates say what that means."""
    from trackline.evaluation import verdict

    return verdict.read(path) if path.exists() else {}


def describe(judged: dict[str, Any]) -> str:
    """The verdict with a line for each gate."""
    from trackline.evaluation.summary import tabulate

    found = judged["smallest_detectable_difference"]
    resolution = "unknown" if found is None else f"{found:.3f}"
    return (
        f"{tabulate(judged['checks'])}\nverdict: {judged['verdict']} ({judged['comparison']}); "
        f"smallest difference of AO that this test set reveals: {resolution}"
    )


def main(argv: list[str] | None = None) -> int:
    """Run the step from the command line."""
    parser = Parser(prog="python -m components.gate", description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--model", type=Path, default=Inputs.model)
    parser.add_argument("--metrics", type=Path, default=Inputs.metrics)
    parser.add_argument("--predictions", type=Path, default=Inputs.predictions)
    parser.add_argument("--validation", type=Path, default=Inputs.validation)
    parser.add_argument("--drift", type=Path, default=Inputs.drift)
    parser.add_argument("--champion", type=Path, default=Inputs.champion)
    parser.add_argument(
        "--champion-predictions",
        type=Path,
        help="the champion's predictions of a test set that is newer than its own evaluation",
    )
    parser.add_argument("--annotations", type=Path, default=Inputs.annotations)
    parser.add_argument("--curves", type=Path, default=Inputs.curves)
    parser.add_argument("--success", type=Path, default=Inputs.success)
    parser.add_argument("--precision", type=Path, default=Inputs.precision)
    parser.add_argument("--verdict", type=Path, default=Outputs.verdict)
    parser.add_argument("--report", type=Path, default=Outputs.report)
    parser.add_argument("--summary", type=Path, default=Outputs.summary)
    given = vars(parser.parse_args(argv))

    def run() -> None:
        params = given.pop("params")
        outputs = Outputs(*(given.pop(name) for name in ("verdict", "report", "summary")))
        print(describe(gate(config.load(params), Inputs(**given), outputs)))
        print(f"wrote {outputs.verdict}, {outputs.report}, {outputs.summary}")

    return exit_code(run)


if __name__ == "__main__":
    sys.exit(main())
