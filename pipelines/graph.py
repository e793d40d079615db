"""The graph: dvc.yaml's stages as Kubeflow tasks, with a branch for the gate and a report in the end.

Annotations are read by kfp when the graph is built, so they are not postponed here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kfp import dsl, kubernetes

from pipelines import steps, trainjob
from pipelines.environment import MOUNT, STEPS, Environment, Settings
from trackline import records
from trackline.champion import Pin
from trackline.config import Params
from trackline.errors import ConfigError

DRIFT = "drift"  # the verdict that starts a training of a run that waits for it
SECTIONS = ("data", "validate", "drift", "model", "train", "track", "evaluate", "gate", "registry")
# the artifact of a task: the file that the stage of dvc.yaml has in its place
FILES = {
    "annotations": ("artifacts/annotations.parquet",),
    "validation": ("metrics/validate.json",),
    "validation_report": ("reports/validation.html",),
    "quarantine": ("artifacts/quarantine.parquet",),
    "profile": ("artifacts/profile.json",),
    "drifted": ("metrics/drift.json",),
    "drift_report": ("reports/drift.html",),
    "trained": ("artifacts/model",),
    "training": ("metrics/train.json",),
    "curves": ("plots/train.csv",),
    "predictions": ("artifacts/predictions.parquet",),
    "evaluation": ("metrics/evaluate.json",),
    "plots": ("plots",),
    "verdict": ("metrics/gate.json",),
    "report": ("reports/index.html",),
    "gates": ("reports/summary.md",),
    "version": ("metrics/register.json",),
}
# artifacts that exist for Kubeflow's pages and records alone
PAGES = ("footage", "classes", "rejection", "summary")


@dataclass(frozen=True)
class Inputs:
    """What a run starts from; each may be given anew when the compiled pipeline is started."""

    data_rev: str
    params: Params
    champion: Pin
    on_drift: bool = False

    @property
    def pipeline(self) -> str:
        """The pipeline's name; one that trains only when the data have moved is another."""
        return "trackline-retrain" if self.on_drift else "trackline"

    def arguments(self) -> dict[str, Any]:
        """The pipeline's parameters, without the nulls, which Kubeflow cannot hold and which are defaults."""
        sections = {
            name: _drop_nulls(records.plain(getattr(self.params, name))) for name in SECTIONS
        }
        if records.parse(Params, sections) != self.params:
            raise ConfigError(
                "a parameter is null whose default is a value, and Kubeflow has no null; give it a value"
            )
        champion = _drop_nulls(records.plain(self.champion))
        return {"data_rev": self.data_rev, "champion": champion, **sections}


def _drop_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _drop_nulls(v) for k, v in value.items() if v is not None}
    return value


def build(environment: Environment, inputs: Inputs) -> Any:
    """Make the pipeline for an environment, with the inputs as defaults of its parameters."""
    make = Maker(environment)
    given = inputs.arguments()

    limits = dsl.PipelineConfig(
        ttl_seconds_after_finished=environment.keep_hours * 3600,
        active_deadline_seconds=environment.deadline_hours * 3600,
    )

    @dsl.pipeline(
        name=inputs.pipeline,
        description="Validate, train, evaluate, gate and register a tracker.",
        pipeline_config=limits,
    )
    def trackline(
        data_rev: str = given["data_rev"],
        champion: dict = given["champion"],
        data: dict = given["data"],
        validate: dict = given["validate"],
        drift: dict = given["drift"],
        model: dict = given["model"],
        train: dict = given["train"],
        track: dict = given["track"],
        evaluate: dict = given["evaluate"],
        gate: dict = given["gate"],
        registry: dict = given["registry"],
    ) -> None:
        with dsl.ExitHandler(make("notify"), name="run"):
            fetched = make("fetch", data_rev=data_rev)
            indexed = make("index", data_rev=data_rev, data=data).after(fetched)
            footage = {"data_rev": data_rev, "data": data}
            footage["annotations"] = indexed.outputs["annotations"]
            validated = make("validate", **footage, validate=validate)
            footage["quarantine"] = validated.outputs["quarantine"]
            drifted = make("drift", **footage, champion=champion, drift=drift, registry=registry)

            def learn() -> None:
                trained = make(
                    "train", **footage, profile=drifted.outputs["profile"], model=model, train=train,
                    track=track,
                )  # fmt: skip
                results = {name: trained.outputs[name] for name in ("trained", "curves")}
                evaluated = make(
                    "evaluate",
                    **footage,
                    trained=results["trained"],
                    track=track,
                    evaluate=evaluate,
                )
                results |= {n: evaluated.outputs[n] for n in ("predictions", "evaluation", "plots")}
                results |= {"champion": champion, "gate": gate, "registry": registry}
                judged = make(
                    "gate", **footage, **results, evaluate=evaluate,
                    validation=validated.outputs["validation"], drifted=drifted.outputs["drifted"],
                )  # fmt: skip
                results["verdict"] = judged.outputs["verdict"]
                # both branches are written out: a lone If never runs in the local runner
                with dsl.If(judged.outputs["passed"] == True, name="accepted"):  # noqa: E712
                    make("register", **results, training=trained.outputs["training"])
                with dsl.Else(name="rejected"):
                    make("reject", verdict=results["verdict"])

            if not inputs.on_drift:
                learn()
                return
            with dsl.If(drifted.outputs["Output"] == DRIFT, name="moved"):
                learn()
            with dsl.Else(name="unmoved"):
                make("rest", verdict=drifted.outputs["Output"])

    return trackline


class Maker:
    """Makes the tasks of a graph, each with its component's image and its step's settings."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.components = {name: self._wrap(getattr(steps, name)) for name in STEPS}

    def __call__(self, step: str, **inputs: Any) -> Any:
        task = self.components[step](**inputs)
        _place(task, self.environment, step)
        return task

    def _wrap(self, function: Callable[..., Any]) -> Any:
        return dsl.component(function, base_image=self.environment.image, install_kfp_package=False)


def _place(task: Any, environment: Environment, step: str) -> None:
    """Set what decides where and how often a task runs, and nothing of what it computes."""
    settings = environment.step(step)
    across = environment.training.mode == "trainjob" and step in ("train", "notify")
    if across:  # the nodes take what training needs; this pod looks on
        task.set_env_variable("TRACKLINE_TRAINJOB", trainjob.describe(environment))
        settings = Settings(
            retries=settings.retries, timeout_minutes=settings.timeout_minutes, cache=settings.cache
        )
    elif settings.gpus and step == "train":
        task.set_env_variable("TRACKLINE_PROCESSES", str(settings.gpus.count))
    task.set_env_variable("OMP_NUM_THREADS", str(settings.threads))
    task.set_display_name(step)
    task.set_caching_options(settings.cache)
    task.set_cpu_request(settings.cpu).set_cpu_limit(settings.cpu)
    task.set_memory_request(settings.memory).set_memory_limit(settings.memory)
    if settings.gpus:
        task.set_accelerator_type(settings.gpus.type)
        task.set_accelerator_limit(settings.gpus.count)
    if settings.retries:
        task.set_retry(settings.retries, f"{settings.backoff_seconds}s", 2.0)
    for name, value in settings.node_selector.items():
        kubernetes.add_node_selector(task, name, value)
    for one in settings.tolerations:
        kubernetes.add_toleration(task, one.key, one.operator, one.value or None, one.effect)
    if settings.shm:
        kubernetes.empty_dir_mount(task, "shm", "/dev/shm", "Memory", settings.shm)
    kubernetes.set_timeout(task, settings.timeout_minutes * 60)
    _give_storage(task, environment)
    _give_identity(task, environment, step)


def _give_storage(task: Any, environment: Environment) -> None:
    kubernetes.empty_dir_mount(task, "scratch", "/tmp")
    variables = {
        "TRACKLINE_REMOTE": environment.remote,
        "TRACKLINE_JOURNAL": environment.journal,
        **environment.variables,
    }
    if environment.volume:
        kubernetes.mount_pvc(task, environment.volume, MOUNT)
        variables["TRACKLINE_DATA"] = f"{MOUNT}/data"
        variables["TRACKLINE_CHECKPOINTS"] = f"{MOUNT}/checkpoints"
    if environment.checkpoints:
        variables["TRACKLINE_CHECKPOINTS"] = environment.checkpoints
    if environment.ui:
        variables["TRACKLINE_UI"] = environment.ui
    for name, value in variables.items():
        task.set_env_variable(name, value)


def _give_identity(task: Any, environment: Environment, step: str) -> None:
    for secret in environment.secrets:
        if not secret.steps or step in secret.steps:
            keys = {key: variable for variable, key in secret.keys.items()}
            kubernetes.use_secret_as_env(task, secret.name, keys)
    if environment.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(environment.image_pull_secrets))
    for name, value in environment.labels.items():
        kubernetes.add_pod_label(task, name, value)
    kubernetes.set_security_context(task, environment.user, environment.group, True)
    if environment.run_variable:
        kubernetes.use_field_path_as_env(task, "TRACKLINE_RUN", "metadata.labels['pipeline/runid']")
