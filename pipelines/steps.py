"""The steps as Kubeflow runs them, each a call of its component.

Kubeflow takes the source of each function and nothing around it, therefore the imports inside; the
annotations are read when the graph is compiled. What a function takes is what the stage of dvc.yaml
depends on: footage as `data_rev`, the champion as `champion`, parameters by section.
"""

from typing import NamedTuple

from kfp import dsl


def fetch(data_rev: str, footage: dsl.Output[dsl.Dataset]):
    from pipelines.step import Step

    with Step("fetch", data_rev) as step:
        files = sum(path.is_file() for path in step.data.rglob("*"))
        footage.metadata |= {"dvc_md5": data_rev, "files": files}
        step.told = f"data {data_rev}, {files} files"


def index(data_rev: str, data: dict, annotations: dsl.Output[dsl.Dataset]):
    from pathlib import Path

    from components.index import index
    from pipelines.step import Step

    with Step("index", data_rev, data=data) as step:
        found = index(step.data, Path(annotations.path), step.params.data)
        step.told = ", ".join(f"{n} {split} sequences" for split, n in found.sequences.items())
        annotations.metadata["dvc_md5"] = data_rev


def validate(
    data_rev: str,
    annotations: dsl.Input[dsl.Dataset],
    data: dict,
    validate: dict,
    validation: dsl.Output[dsl.Metrics],
    validation_report: dsl.Output[dsl.HTML],
    quarantine: dsl.Output[dsl.Dataset],
):
    from pathlib import Path

    from components import validate as component
    from pipelines import display
    from pipelines.step import Step

    with Step("validate", data_rev, data=data, validate=validate) as step:
        params, outputs = step.params, (validation, validation_report, quarantine)
        files = (Path(output.path) for output in outputs)
        component.validate(
            Path(annotations.path), step.data, params.validate, params.data.classes, *files
        )
        display.show_numbers(validation)


def drift(
    data_rev: str,
    annotations: dsl.Input[dsl.Dataset],
    quarantine: dsl.Input[dsl.Dataset],
    champion: dict,
    data: dict,
    drift: dict,
    registry: dict,
    profile: dsl.Output[dsl.Artifact],
    drifted: dsl.Output[dsl.Metrics],
    drift_report: dsl.Output[dsl.HTML],
) -> str:
    from pathlib import Path

    from components import drift as component
    from pipelines import display
    from pipelines.step import Step

    with Step("drift", data_rev, champion, data=data, drift=drift, registry=registry) as step:
        reference = component.find_reference(step.pin, step.params.registry)
        files = (Path(output.path) for output in (profile, drifted, drift_report))
        compared = component.drift(
            step.lay_table(annotations, quarantine), step.data, reference, step.params.drift, *files
        )
        display.show_numbers(drifted)
        step.told = compared.verdict
    return compared.verdict


def train(
    data_rev: str,
    annotations: dsl.Input[dsl.Dataset],
    quarantine: dsl.Input[dsl.Dataset],
    profile: dsl.Input[dsl.Artifact],
    data: dict,
    model: dict,
    train: dict,
    track: dict,
    trained: dsl.Output[dsl.Model],
    training: dsl.Output[dsl.Metrics],
    curves: dsl.Output[dsl.Dataset],
):
    from pipelines import display
    from pipelines.step import Step
    from pipelines.training import run_training

    with Step("train", data_rev, data=data, model=model, train=train, track=track) as step:
        table = step.lay_table(annotations, quarantine)
        run_training(step, table, profile.path, trained.path, training.path, curves.path)
        display.show_numbers(training)
        trained.metadata |= {"dvc_md5": data_rev, "run": step.run}


def evaluate(
    data_rev: str,
    trained: dsl.Input[dsl.Model],
    annotations: dsl.Input[dsl.Dataset],
    quarantine: dsl.Input[dsl.Dataset],
    data: dict,
    track: dict,
    evaluate: dict,
    predictions: dsl.Output[dsl.Dataset],
    evaluation: dsl.Output[dsl.Metrics],
    plots: dsl.Output[dsl.Artifact],
    classes: dsl.Output[dsl.ClassificationMetrics],
):
    from pathlib import Path

    from components.evaluate import Inputs, Outputs, describe
    from components.evaluate import evaluate as run
    from pipelines import display
    from pipelines.step import Step

    with Step("evaluate", data_rev, data=data, track=track, evaluate=evaluate) as step:
        inputs = Inputs(Path(trained.path), step.lay_table(annotations, quarantine))
        outputs = Outputs(Path(evaluation.path), Path(predictions.path), Path(plots.path))
        step.told = describe(run(step.params, inputs, outputs))
        display.show_numbers(evaluation)
        display.show_classes(outputs.predictions, step.params.data.classes, classes)


def gate(
    data_rev: str,
    trained: dsl.Input[dsl.Model],
    annotations: dsl.Input[dsl.Dataset],
    quarantine: dsl.Input[dsl.Dataset],
    predictions: dsl.Input[dsl.Dataset],
    champion: dict,
    evaluation: dsl.Input[dsl.Metrics],
    validation: dsl.Input[dsl.Metrics],
    drifted: dsl.Input[dsl.Metrics],
    curves: dsl.Input[dsl.Dataset],
    plots: dsl.Input[dsl.Artifact],
    gate: dict,
    evaluate: dict,
    registry: dict,
    data: dict,
    verdict: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    gates: dsl.Output[dsl.Markdown],
) -> NamedTuple("Gate", [("passed", bool)]):
    from pathlib import Path

    from components import gate as component
    from pipelines.step import Step

    sections = {"gate": gate, "evaluate": evaluate, "registry": registry, "data": data}
    with Step("gate", data_rev, champion, **sections) as step:
        judged = component.gate(
            step.params,
            component.Inputs(
                model=Path(trained.path),
                metrics=Path(evaluation.path),
                predictions=Path(predictions.path),
                validation=Path(validation.path),
                drift=Path(drifted.path),
                champion=step.pin,
                annotations=step.lay_table(annotations, quarantine),
                curves=Path(curves.path) / "train.csv",
                success=Path(plots.path) / "success.csv",
                precision=Path(plots.path) / "precision.csv",
            ),
            component.Outputs(Path(verdict.path), Path(report.path), Path(gates.path)),
        )
        print(component.describe(judged))
        step.told = f"{judged['verdict']} ({judged['comparison']})"
    return (judged["passed"],)


def register(
    trained: dsl.Input[dsl.Model],
    predictions: dsl.Input[dsl.Dataset],
    verdict: dsl.Input[dsl.Artifact],
    evaluation: dsl.Input[dsl.Metrics],
    training: dsl.Input[dsl.Metrics],
    curves: dsl.Input[dsl.Dataset],
    plots: dsl.Input[dsl.Artifact],
    champion: dict,
    registry: dict,
    gate: dict,
    version: dsl.Output[dsl.Artifact],
):
    from pathlib import Path

    from components import register as component
    from pipelines.step import Step

    with Step("register", "", champion, registry=registry, gate=gate) as step:
        inputs = component.Inputs(
            model=Path(trained.path),
            metrics=Path(evaluation.path),
            predictions=Path(predictions.path),
            verdict=Path(verdict.path),
            curves=Path(curves.path) / "train.csv",
            slices=Path(plots.path) / "slices.csv",
            champion=step.pin,
        )
        found = component.register(step.params, inputs, Path(version.path))
        print(component.describe(found, inputs.report))
        step.told = f"{found['name']} version {found['version']}, {found['alias']}"
        version.metadata |= {key: str(value) for key, value in found.items()}


def reject(verdict: dsl.Input[dsl.Artifact], rejection: dsl.Output[dsl.Artifact]):
    from pathlib import Path

    from components import reject as component
    from pipelines.step import Step

    with Step("reject") as step:
        found = component.reject(Path(verdict.path), Path(rejection.path))
        step.told = component.describe(found)
        rejection.metadata["failed"] = ", ".join(check["name"] for check in found["failed"])


def rest(verdict: str):
    from pipelines.step import Step

    with Step("rest") as step:
        step.told = f"the data's verdict is {verdict!r}: nothing is trained"


def notify(status: dsl.PipelineTaskFinalStatus, summary: dsl.Output[dsl.Markdown]):
    from pathlib import Path

    from components.notify import notify
    from pipelines import trainjob
    from pipelines.step import find_journal, find_page, find_run

    run = find_run()
    trainjob.sweep(run)
    print(notify(run, find_journal(run), status.state, Path(summary.path), find_page(run)))
