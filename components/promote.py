"""Promote: make a registered version the champion.

Reads the registry, champion.json, and the working tree's test data; moves the champion in the
registry's journal, with it the alias `champion`, adds the move to registry/audit.jsonl and pins the
new champion in champion.json, which is committed in git. The package and its evidence must be intact
and the verdict must be about them. Where champion, thresholds, test data or evaluation code are no
longer those of the verdict, the gates are applied again, here and now, and the new verdict counts.

exit codes: 0 promoted, 2 refused: its verdict does not hold, 3 params.yaml, 20 no such version, the
registry cannot be used or has another champion than champion.json, 21 its package was altered
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from trackline import champion, config
from trackline.commandline import Parser, exit_code
from trackline.errors import GateRefused, MissingFrameError

METRICS, PREDICTIONS, VERDICT = "evaluate.json", "predictions.parquet", "gate.json"


@dataclass(frozen=True)
class Tree:
    """What a promotion reads of the working tree, and the report that a new verdict leaves there."""

    champion: Path = champion.PIN
    annotations: Path = Path("artifacts/annotations.parquet")
    validation: Path = Path("metrics/validate.json")
    drift: Path = Path("metrics/drift.json")
    report: Path = Path("reports/promotion.html")


def promote(params: config.Params, number: int, tree: Tree, why: str = "") -> champion.Pin:
    """Run the step; returns the pin before it. Raises GateRefused, RegistryError or PackageError."""
    from trackline import registry

    before = champion.read_pin(tree.champion)
    root = tree.champion.resolve().parent
    store = registry.connect(params.registry, root)
    version = registry.find_version(store, number)
    folder = registry.fetch_to_cache(store, number, root)
    confirm_model(folder, params)
    if before.version != number and (changed := find_changes(folder, params, before, tree)):
        judge_again(params, store, version, folder, tree, changed)
        folder = registry.fetch_to_cache(store, number, root)
    verdict = confirm_model(folder, params)
    champion.write_pin(tree.champion, champion.promote(store, number, before.version, why, verdict))
    return before


def roll_back(
    params: config.Params, tree: Tree, number: int | None = None, why: str = ""
) -> tuple[champion.Pin, champion.Pin]:
    """Return to the previous champion, or to `number`; returns the pins before and after.

    Only what describes the model itself is confirmed: it was in use, and it may have to return at once.
    """
    from trackline import registry

    before = champion.read_pin(tree.champion)
    root = tree.champion.resolve().parent
    store = registry.connect(params.registry, root)
    number = champion.find_unpinned(store, before) or champion.find_previous(store, number)
    folder = registry.fetch_to_cache(store, number, root)
    verdict = confirm_model(folder, params)
    champion.write_pin(
        tree.champion, champion.roll_back(store, number, before.version, why, verdict)
    )
    return before, champion.read_pin(tree.champion)


def confirm_model(folder: Path, params: config.Params) -> str:
    """Refuse a version that was rejected or whose verdict is about another model; else name the verdict."""
    from trackline.evaluation import verdict

    bound = verdict.bind(_name_files(folder), None, params.gate)
    path = folder / "evaluation" / VERDICT
    found = verdict.confirm(path, bound, verdict.OF_THE_MODEL)
    verdict.refuse_rejected(found, path)
    return f"{found['verdict']} ({found['comparison']}), {found[verdict.SEAL][:12]}"


def find_changes(
    folder: Path, params: config.Params, before: champion.Pin, tree: Tree
) -> list[str]:
    """Name what the verdict rests on and what has changed since."""
    from trackline.evaluation import verdict

    judged = verdict.read(folder / "evaluation" / VERDICT)["bound"]
    now = verdict.bind(_name_files(folder), before.sha256, params.gate)
    if tree.annotations.exists():
        now["evaluation_data_sha256"] = hash_test_data(params, tree)
    return [name for name in verdict.BOUND if judged.get(name) != now.get(name)]


def hash_test_data(params: config.Params, tree: Tree) -> str:
    """The hash by which evaluations know the working tree's test data."""
    from trackline.data import table
    from trackline.data.frames import hash_frames

    sequences = table.iterate(table.read(tree.annotations), params.evaluate.split)
    try:
        return hash_frames(Path(params.data.path), list(sequences))
    except OSError as error:
        raise MissingFrameError(
            f"the test data below {params.data.path} cannot be read ({error}); run dvc pull data.dvc, or "
            f"remove {tree.annotations} to rely on the data that the verdict names"
        ) from None


def judge_again(
    params: config.Params, store: Any, version: Any, folder: Path, tree: Tree, changed: list[str]
) -> None:
    """Apply the gates to a version as things stand now, and let it rest on that verdict from now on.

    A new test set or new evaluation code means new predictions, of the champion too. Raises GateRefused
    when the gates refuse, or when the working tree lacks the test data.
    """
    from components import gate, register
    from trackline import registry
    from trackline.evaluation import verdict

    words = ", ".join(verdict.BOUND[name] for name in changed)
    if not tree.annotations.exists():
        raise GateRefused(
            f"the verdict on version {version.version} no longer holds, because these changed: {words}; "
            f"{tree.annotations} is needed to judge it again, so run the pipeline here and promote then"
        )
    print(f"judging version {version.version} again, because these changed: {words}")
    anew = {"evaluation_data_sha256", "code_sha256"} & set(changed)
    with TemporaryDirectory() as scratch:
        here = Path(scratch)
        measured, plots = folder / "evaluation", here / "candidate" / "plots"
        if anew:
            measured = measure(params, folder / "model", tree, here / "candidate")
        metrics, predictions = measured / METRICS, measured / PREDICTIONS
        outputs = gate.Outputs(here / VERDICT, tree.report, tree.report.with_suffix(".md"))
        inputs = gate.Inputs(
            model=folder / "model",
            metrics=metrics,
            predictions=predictions,
            validation=tree.validation,
            drift=tree.drift,
            champion=tree.champion,
            champion_predictions=measure_champion(params, tree, here / "champion"),
            annotations=tree.annotations,
            curves=plots / "train.csv",  # the working tree's are of another training
            success=plots / "success.csv",
            precision=plots / "precision.csv",
        )
        judged = gate.gate(params, inputs, outputs)
        verdict.refuse_rejected(judged, tree.report)
        judged_on = register.Inputs(
            folder / "model", metrics, predictions, outputs.verdict, inputs.curves
        )
        with register.gather_evidence(params, judged_on) as evidence:
            tags = register.read_judgement(outputs.verdict)
            registry.add_evidence(store, version, evidence, tags)


def measure(params: config.Params, model: Path, tree: Tree, out: Path) -> Path:
    """Evaluate a package on the working tree's test data; returns the folder of the results."""
    from components import evaluate

    outputs = evaluate.Outputs(out / METRICS, out / PREDICTIONS, out / "plots")
    evaluate.evaluate(params, evaluate.Inputs(model, tree.annotations), outputs)
    return out


def measure_champion(params: config.Params, tree: Tree, out: Path) -> Path | None:
    """The champion's predictions of the present test data, where the registry has only older ones."""
    from trackline.evaluation import verdict

    folder = champion.fetch_champion(tree.champion, params.registry)
    if folder is None:
        return None
    judged = verdict.read(folder / "evaluation" / VERDICT)["bound"]
    now = {
        "evaluation_data_sha256": hash_test_data(params, tree),
        "code_sha256": verdict.hash_code(),
    }
    if all(judged.get(name) == value for name, value in now.items()):
        return None
    return measure(params, folder / "model", tree, out) / PREDICTIONS


def _name_files(folder: Path) -> Any:
    from trackline.evaluation import verdict

    evaluation = folder / "evaluation"
    return verdict.Judged(folder / "model", evaluation / METRICS, evaluation / PREDICTIONS)


def describe(before: champion.Pin, name: str, number: int, pin: Path) -> str:
    """What was promoted, and what to do now."""
    was = "there was none" if before.version is None else f"it was version {before.version}"
    return (
        f"{name} version {number} is the champion ({was})\n"
        f"wrote {pin}; commit it, and the next run compares with this model"
    )


def main(argv: list[str] | None = None) -> int:
    """Run the step from the command line."""
    parser = Parser(prog="python -m components.promote", description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--version", type=int, required=True, help="the version to promote")
    parser.add_argument("--reason", default="", help="why, for the audit trail")
    parser.add_argument("--champion", type=Path, default=champion.PIN)
    given = parser.parse_args(argv)

    def run() -> None:
        params, tree = config.load(given.params), Tree(given.champion)
        before = promote(params, given.version, tree, given.reason)
        print(describe(before, params.registry.name, given.version, given.champion))

    return exit_code(run)


if __name__ == "__main__":
    sys.exit(main())
