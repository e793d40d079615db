"""Register: put a model that passed its gates into the registry, as the candidate.

Reads the model package, the evaluation, the verdict and the training curves; writes a version of the
model into the registry and metrics/register.json. The verdict must have been reached on exactly these
files, thresholds and this champion, and must be `accepted`; otherwise nothing reaches the registry.
The same model registered twice stays one version.

exit codes: 0 registered, 2 refused: rejected, edited or overtaken verdict, 3 params.yaml, 10 a result
of an earlier step cannot be read, 20 the registry cannot be used, 21 the model package was altered
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from trackline import artifacts, champion, config
from trackline.commandline import Parser, exit_code
from trackline.redaction import redact


@dataclass(frozen=True)
class Inputs:
    """What the step reads; `report` is only named to whoever is refused."""

    model: Path = Path("artifacts/model")
    metrics: Path = Path("metrics/evaluate.json")
    predictions: Path = Path("artifacts/predictions.parquet")
    verdict: Path = Path("metrics/gate.json")
    curves: Path = Path("plots/train.csv")
    slices: Path = Path("plots/slices.csv")
    champion: Path = champion.PIN
    report: Path = Path("reports/index.html")


def register(params: config.Params, inputs: Inputs, out: Path) -> dict[str, Any]:
    """Run the step; returns what it writes: name, version, alias, sha256 and registry."""
    from trackline import registry

    confirm(params, inputs)
    store = registry.connect(params.registry, inputs.champion.resolve().parent)
    with gather_evidence(params, inputs) as evidence:
        version = registry.register(
            store,
            inputs.model,
            evidence,
            tags={**read_origin(inputs.model / "lineage.json"), **read_judgement(inputs.verdict)},
            metrics=read_numbers(inputs.metrics),
            curves=read_curves(inputs.curves),
        )
    result = {
        "name": version.name,
        "version": version.version,
        "alias": registry.CANDIDATE,
        "sha256": version.sha256,
        "registry": redact(registry.find_uri(params.registry)),
    }
    artifacts.write_json(out, result)
    return result


def confirm(params: config.Params, inputs: Inputs) -> None:
    """Refuse a verdict that is rejected, edited, or about other files than those now present."""
    from trackline.evaluation import verdict

    files = verdict.Judged(inputs.model, inputs.metrics, inputs.predictions)
    bound = verdict.bind(files, champion.read_pin(inputs.champion).sha256, params.gate)
    verdict.refuse_rejected(verdict.confirm(inputs.verdict, bound), inputs.report)


@contextmanager
def gather_evidence(params: config.Params, inputs: Inputs) -> Iterator[dict[str, Path]]:
    """The files that a version rests on, by their names; its card is written for the occasion."""
    from trackline.evaluation import verdict
    from trackline.models.card import complete_card

    sealed = inputs.model / "MODEL_CARD.md"
    with TemporaryDirectory() as scratch:
        card = Path(scratch) / sealed.name
        text = complete_card(
            sealed.read_text(encoding="utf-8") if sealed.exists() else "# Model card\n",
            params.registry.card,
            verdict.read(inputs.metrics),
            verdict.read(inputs.verdict),
            read_columns(inputs.slices),
        )
        artifacts.write_text(card, text)
        yield {
            "gate.json": inputs.verdict,
            "evaluate.json": inputs.metrics,
            "predictions.parquet": inputs.predictions,
            card.name: card,
        }


def read_columns(path: Path) -> dict[str, list[Any]]:
    """The columns of a CSV; none without the file."""
    import pandas as pd

    if not path.exists():
        return {}
    return {str(name): column.to_list() for name, column in pd.read_csv(path).items()}


def read_origin(lineage: Path) -> dict[str, str]:
    """The git revision, the data's hashes and the digest of the params as tags, those that are known."""
    from trackline.evaluation import verdict

    content = verdict.read(lineage)
    found = {"git": content.get("git", {}), "data": content.get("data", {})}
    tags = {
        f"{part}.{name}": str(value)
        for part, values in found.items()
        for name, value in values.items()
        if value is not None
    }
    return {**tags, "params_sha256": artifacts.digest(content.get("params", {}))}


def read_judgement(path: Path) -> dict[str, str]:
    """The verdict with its seal and bounds, the drift it saw, and who registers, as tags."""
    from trackline.evaluation import verdict
    from trackline.registry.journal import name_actor

    judged = verdict.read(path)
    return {
        "verdict": str(judged["verdict"]),
        "verdict_seal_sha256": str(judged[verdict.SEAL]),
        **{f"verdict.{name}": str(value) for name, value in judged["bound"].items()},
        "drift": str(judged.get("drift")),
        "registered_by": name_actor(),
    }


def read_numbers(metrics: Path) -> dict[str, float]:
    """The numbers among the metrics."""
    content = artifacts.read_json(metrics)
    return {name: value for name, value in content.items() if type(value) in (int, float)}


def read_curves(path: Path) -> dict[str, list[float]]:
    """The numeric columns of the training curves, a value an epoch; none without the file."""
    import pandas as pd

    if not path.exists():
        return {}
    table = pd.read_csv(path).drop(columns="epoch", errors="ignore").select_dtypes("number")
    return {str(name): column.astype(float).to_list() for name, column in table.items()}


def describe(result: dict[str, Any], report: Path) -> str:
    """What was registered, and where to go from here."""
    uri, version = result["registry"], result["version"]
    browse = (
        f"open {uri}"
        if uri.startswith("http")
        else f"mlflow ui --backend-store-uri {uri} --host 127.0.0.1"
    )
    return (
        "gates     passed\n"
        f"model     {result['name']} version {version}, {result['alias']} (sha256 {result['sha256'][:12]})\n"
        f"report    {report}\n"
        f"registry  {browse}\n"
        f"promote   trackline registry promote {version}"
    )


def main(argv: list[str] | None = None) -> int:
    """Run the step from the command line."""
    parser = Parser(prog="python -m components.register", description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--model", type=Path, default=Inputs.model)
    parser.add_argument("--metrics", type=Path, default=Inputs.metrics)
    parser.add_argument("--predictions", type=Path, default=Inputs.predictions)
    parser.add_argument("--verdict", type=Path, default=Inputs.verdict)
    parser.add_argument("--curves", type=Path, default=Inputs.curves)
    parser.add_argument("--slices", type=Path, default=Inputs.slices)
    parser.add_argument("--champion", type=Path, default=Inputs.champion)
    parser.add_argument("--report", type=Path, default=Inputs.report)
    parser.add_argument("--out", type=Path, default=Path("metrics/register.json"))
    parser.add_argument(
        "--check", action="store_true", help="only say whether the model would be registered"
    )
    given = vars(parser.parse_args(argv))

    def run() -> None:
        params, out, check = (given.pop(name) for name in ("params", "out", "check"))
        inputs = Inputs(**given)
        if check:
            confirm(config.load(params), inputs)
            print(f"the gates passed; see {inputs.report}")
            return
        print(describe(register(config.load(params), inputs, out), inputs.report))

    return exit_code(run)


if __name__ == "__main__":
    sys.exit(main())
