"""Training across nodes: a Kubeflow Trainer v2 TrainJob that a small step submits, follows and deletes.

The nodes share the run's folder on the volume: what they read is put there first, what they wrote is
taken from there, and the checkpoint there is what a second try goes on from.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipelines.environment import MOUNT, Environment
from trackline import artifacts, records
from trackline.data.table import QUARANTINE
from trackline.errors import TracklineError

GONE_SECONDS = 300
PATIENCE_SECONDS = 120  # a job goes on while the API server is away for so long
FINAL = ("Complete", "Failed")


def describe(environment: Environment) -> str:
    """An environment as the text of one variable, for the step that submits the job."""
    return json.dumps(records.plain(environment))


def read_environment() -> Environment | None:
    """The environment of a step that trains across nodes; None where training stays in its pod."""
    text = os.environ.get("TRACKLINE_TRAINJOB")
    return records.parse(Environment, json.loads(text)) if text else None


def name_job(run: str) -> str:
    """The job of a run: the same for every try, so that a second try finds the first one's."""
    return f"trackline-{artifacts.digest(run)[:12]}"


def train(run: str, environment: Environment, root: Path, files: dict[str, Path]) -> None:
    """Train across nodes: `files` are components.train's options; those that exist are its inputs.

    `root` is the folder that the nodes share.
    """
    folder = root / "runs" / run
    shared = {option: folder / option.strip("-") for option in files}
    folder.mkdir(parents=True, exist_ok=True)
    for option in ("--params", "--annotations", "--profile"):
        if files[option].is_file():
            shutil.copyfile(files[option], shared[option])
    aside = files["--annotations"].with_name(QUARANTINE)
    if aside.is_file():
        shutil.copyfile(aside, folder / QUARANTINE)
    shared["--curves"] = folder / "train.csv"
    shared["--checkpoint"] = folder / "checkpoint.safetensors"
    Job(run, environment).run("components.train", [str(p) for pair in shared.items() for p in pair])
    for option in ("--model", "--metrics", "--curves"):
        _take(shared[option], files[option])
    shutil.rmtree(folder)


def sweep(run: str) -> None:
    """Delete what is left of a run's job in the end, whatever became of the step that followed it."""
    if environment := read_environment():
        Job(run, environment).delete()


def _take(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)


class Job:
    """The TrainJob of a run."""

    def __init__(self, run: str, environment: Environment, poll_seconds: float = 5) -> None:
        from kubeflow.trainer import KubernetesBackendConfig, TrainerClient

        self.name, self.environment, self.poll_seconds = name_job(run), environment, poll_seconds
        namespace = environment.training.namespace or environment.namespace
        self.client = TrainerClient(KubernetesBackendConfig(namespace=namespace))
        self._printed: dict[str, int] = {}

    def run(self, module: str, arguments: list[str]) -> None:
        """Submit the job, or adopt the one an earlier try left, and follow it to its end; then delete it.

        Raises TracklineError when it failed. A step that is itself killed leaves the job to the next try.
        """
        state = self.find_state()
        if state == "Failed":
            self.delete()
            state = None
        if state is None:
            self._submit(module, arguments)
            print(
                f"submitted TrainJob {self.name}, {self.environment.training.nodes} nodes",
                flush=True,
            )
        else:
            print(f"found TrainJob {self.name} of an earlier try, {state}", flush=True)
        state = self._follow()
        self.delete()
        if state == "Failed":
            raise TracklineError(
                f"TrainJob {self.name} failed; what its first node printed stands above, and its checkpoint "
                "is kept: the next try goes on from it"
            )

    def find_state(self) -> str | None:
        """The job's state; None when there is no such job."""
        job = self._get()
        return None if job is None else str(job.status)

    def delete(self) -> None:
        """Delete the job and wait until it is gone; nothing when there is none."""
        if self._get() is None:
            return
        with suppress(RuntimeError):  # someone else was faster
            self.client.delete_job(self.name)
        deadline = time.monotonic() + GONE_SECONDS
        while self._get() is not None:
            if time.monotonic() > deadline:
                raise TracklineError(
                    f"TrainJob {self.name} does not go away; look at it with kubectl"
                )
            time.sleep(self.poll_seconds)

    def _get(self) -> Any:
        try:
            return self.client.get_job(self.name)
        except (RuntimeError, TimeoutError) as error:
            if getattr(error.__cause__, "status", None) == 404:
                return None
            raise TracklineError(
                f"TrainJob {self.name} cannot be looked at ({error.__cause__ or error}); the step's service "
                "account needs the role in docs/kubeflow.md"
            ) from None

    def _follow(self) -> str:
        """Print what the first node prints until the job is at its end; returns that end."""
        seen = time.monotonic()
        while True:
            try:
                state, seen = self.find_state(), time.monotonic()
            except TracklineError:
                if time.monotonic() - seen > PATIENCE_SECONDS:
                    raise
                time.sleep(self.poll_seconds)
                continue
            if state is None:
                raise TracklineError(
                    f"TrainJob {self.name} was deleted while it ran; start the run again"
                )
            self._print_logs()
            if state in FINAL:
                return state
            time.sleep(self.poll_seconds)

    def _print_logs(self) -> None:
        """Print the lines that are new; a pod that was made anew starts from its own beginning."""
        pod = next((s for s in self._get_steps() if s.name == "node-0" and s.pod_name), None)
        if pod is None:
            return
        with suppress(RuntimeError, TimeoutError):  # the pod went away between the two questions
            lines = "".join(
                f"{line}\n" for line in self.client.get_job_logs(self.name)
            ).splitlines()
            for line in lines[self._printed.get(pod.pod_name, 0) :]:
                print(f"node-0 | {line}", flush=True)
            self._printed[pod.pod_name] = len(lines)

    def _get_steps(self) -> list[Any]:
        job = self._get()
        return [] if job is None else list(job.steps)

    def _submit(self, module: str, arguments: list[str]) -> None:
        from kubeflow.trainer import CustomTrainerContainer
        from kubeflow.trainer.options import (
            ActiveDeadlineSeconds,
            Labels,
            Name,
            TrainerArgs,
            TrainerCommand,
        )

        environment, settings = self.environment, self.environment.step("train")
        resources: dict[str, Any] = {"cpu": settings.cpu, "memory": settings.memory}
        if settings.gpus:
            resources[settings.gpus.type] = settings.gpus.count
        threads = settings.threads if settings.gpus else 1  # without GPUs each core is a process
        variables = {**environment.variables, "OMP_NUM_THREADS": str(threads)}
        trainer = CustomTrainerContainer(
            environment.image, environment.training.nodes, resources, variables
        )
        options = [
            Name(self.name),
            Labels(dict(environment.labels)),
            TrainerCommand(["torchrun", "--max-restarts", "3", "-m", module]),
            TrainerArgs(arguments),
            ActiveDeadlineSeconds(settings.timeout_minutes * 60),
            self._patch_pods(),
        ]
        self.client.train(environment.training.runtime, trainer=trainer, options=options)

    def _patch_pods(self) -> Any:
        """The nodes' pods: volume, shared memory, secrets, placement, identity."""
        from kubeflow.trainer.options import (
            ContainerPatch,
            JobSetSpecPatch,
            JobSetTemplatePatch,
            JobSpecPatch,
            JobTemplatePatch,
            PodSpecPatch,
            PodTemplatePatch,
            ReplicatedJobPatch,
            RuntimePatch,
            TrainingRuntimeSpecPatch,
        )

        environment, settings = self.environment, self.environment.step("train")
        assert environment.volume is not None
        volumes: list[dict[str, Any]] = [
            {"name": "run", "persistentVolumeClaim": {"claimName": environment.volume}},
            {"name": "scratch", "emptyDir": {}},
        ]
        mounts = [{"name": "run", "mountPath": MOUNT}, {"name": "scratch", "mountPath": "/tmp"}]
        if settings.shm:
            volumes.append(
                {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": settings.shm}}
            )
            mounts.append({"name": "shm", "mountPath": "/dev/shm"})
        secrets = [
            {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret.name, "key": key}}}
            for secret in environment.secrets
            if not secret.steps or "train" in secret.steps
            for variable, key in secret.keys.items()
        ]
        pod = PodSpecPatch(
            volumes=volumes,
            containers=[ContainerPatch("node", env=secrets or None, volume_mounts=mounts)],
            image_pull_secrets=[{"name": name} for name in environment.image_pull_secrets] or None,
            security_context={
                "runAsUser": environment.user,
                "runAsGroup": environment.group,
                "runAsNonRoot": True,
            },
            node_selector=settings.node_selector or None,
            tolerations=[records.plain(t) for t in settings.tolerations] or None,
        )
        template = PodTemplatePatch({"labels": dict(environment.labels)}, pod)
        node = ReplicatedJobPatch("node", JobTemplatePatch(spec=JobSpecPatch(template)))
        jobs = JobSetTemplatePatch(spec=JobSetSpecPatch([node]))
        return RuntimePatch(TrainingRuntimeSpecPatch(jobs))
