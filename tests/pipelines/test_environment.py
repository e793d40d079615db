"""Environments: what is refused before anything is compiled, and what a compiled package never holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format

from pipelines import environment, package
from pipelines.graph import Inputs
from trackline import config
from trackline.champion import Pin
from trackline.errors import ConfigError

ROOT = Path(__file__).parents[2]
EXAMPLE: dict[str, Any] = yaml.safe_load((ROOT / "pipelines/environments/example.yaml").read_text())
GPUS = {"count": 4, "type": "nvidia.com/gpu"}
GOLDEN = Path(__file__).with_name("example.golden.yaml")


def load(tmp_path: Path, **changes: Any) -> environment.Environment:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(EXAMPLE | changes))
    return environment.load(path)


def steps(**train: Any) -> dict[str, Any]:
    return {"steps": {"train": train}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": "trackline:latest"}, "name it by digest"),
        ({"image": "trackline@sha256:abc"}, "name it by digest"),
        (steps(gpus={"count": 4}), "gives a pod no GPU"),
        (steps(gpus={"count": 0, "type": "nvidia.com/gpu"}), "at least 1"),
        (steps(memory="16 GB"), "writes quantities like"),
        (steps(timeout="2h"), "unknown key 'steps.train.timeout'"),
        ({"steps": {"trian": {}}}, "steps names 'trian'"),
        ({"imgae": "x"}, "did you mean 'image'"),
        ({"variables": {"AWS_SECRET_ACCESS_KEY": "x"}}, "looks like a secret"),
        ({"variables": {"DB": "postgres://me:pw@host/db"}}, "holds a password"),
        ({"endpoint": "https://me:pw@kubeflow"}, "holds a password"),
        ({"journal": "/var/journal"}, "ends with the pod"),
        ({"training": {"mode": "pod", "nodes": 2}}, "set training.mode to trainjob"),
        ({"training": {"mode": "trainjob", "nodes": 2}}, "set volume"),
        ({"user": 0}, "at least 1"),
        ({"checkpoints": "/tmp/checkpoints"}, "checkpoints is .* ends with the pod"),
        (steps(timeout_minutes=3000), "deadline_hours ends the whole run after 24"),
    ],
)
def test_what_would_go_wrong_on_a_cluster_is_refused_here(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, **changes)


def test_a_step_takes_from_default_what_it_does_not_say(tmp_path: Path) -> None:
    loaded = load(tmp_path, steps={"default": {"memory": "9Gi"}, "train": {"cpu": "7"}})
    assert (loaded.step("train").memory, loaded.step("train").cpu) == ("9Gi", "7")
    assert loaded.step("gate").memory == "9Gi"


def test_steps_that_act_on_the_world_are_never_cached(tmp_path: Path) -> None:
    loaded = load(tmp_path, steps={"default": {"cache": True}})
    assert not any(loaded.step(name).cache for name in environment.UNCACHED)


def compile_example(tmp_path: Path, **changes: Any) -> str:
    inputs = Inputs("e807f842e3a1fa97e23ab2052d278d08.dir", config.Params(), Pin("tracker"))
    out = tmp_path / "pipeline.yaml"
    return package.compile_package(load(tmp_path, **changes), inputs, out).read_text()


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> str:
    return compile_example(tmp_path_factory.mktemp("compiled"))


def test_the_package_is_what_it_was(compiled: str) -> None:
    """A change that is meant: write GOLDEN anew with `simplify`, and look at the difference."""
    assert simplify(compiled) == yaml.safe_load(GOLDEN.read_text())


def simplify(text: str) -> dict[str, Any]:
    """The graph and where it runs, without the steps' sources and the parameters' values."""
    spec, platform = package.read_documents(text)
    for parameter in spec["root"]["inputDefinitions"]["parameters"].values():
        parameter.pop("defaultValue", None)
    for executor in spec["deploymentSpec"]["executors"].values():
        executor["container"].pop("command", None)
        executor["container"].pop("args", None)
    spec.pop("sdkVersion")
    return {"pipeline": spec, "platform": platform}


def test_every_field_is_one_that_kubeflow_knows(compiled: str) -> None:
    """Protobuf refuses misspelt fields, in each executor too, which the platform's own message does not."""
    from kfp.kubernetes import kubernetes_executor_config_pb2 as kubernetes
    from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2

    spec, platform = package.read_documents(compiled)
    json_format.ParseDict(spec, spec_pb2.PipelineSpec())
    json_format.ParseDict(spec["deploymentSpec"], spec_pb2.PipelineDeploymentConfig())
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert len(executors) == len(environment.STEPS) - 1  # all but rest
    for executor in executors.values():
        json_format.ParseDict(executor, kubernetes.KubernetesExecutorConfig())


def test_gpus_go_to_those_who_asked(compiled: str) -> None:
    spec, _ = package.read_documents(compiled)
    executors = spec["deploymentSpec"]["executors"]
    given = {
        name: container["resources"]["accelerator"]["resourceCount"]
        for name, executor in executors.items()
        if "accelerator" in (container := executor["container"])["resources"]
    }
    assert given == {"exec-train": "4", "exec-evaluate": "1"}


def test_a_package_holds_no_secret_and_installs_nothing(compiled: str) -> None:
    assert "pip install" not in compiled
    assert "secretKey: access-key" in compiled
    assert environment.SECRET_VALUE.search(compiled) is None


def test_a_step_that_would_install_packages_is_refused(compiled: str, tmp_path: Path) -> None:
    spoilt = compiled.replace("python3 -m kfp", "pip install x; python3 -m kfp", 1)
    with pytest.raises(ConfigError, match="put them into the image"):
        package.check(spoilt, load(tmp_path))


def test_a_cached_registration_is_refused(compiled: str, tmp_path: Path) -> None:
    spec, _ = package.read_documents(compiled)
    dict(package.list_tasks(spec))["register"]["cachingOptions"]["enableCache"] = True
    with pytest.raises(ConfigError, match="never be served from the cache"):
        package.check(yaml.safe_dump(spec), load(tmp_path))


@pytest.mark.parametrize(
    ("train", "threads"),
    [
        ({"cpu": "8"}, 8),
        ({"cpu": "500m"}, 1),
        ({"cpu": "2.5"}, 2),
        ({"cpu": "16", "gpus": GPUS}, 4),
    ],
)
def test_processes_share_a_pod_s_cores(train: dict[str, Any], threads: int, tmp_path: Path) -> None:
    assert load(tmp_path, **steps(**train)).step("train").threads == threads


def test_files_of_this_machine_are_refused_where_no_pod_sees_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="would end with the pod; set variables"):
        compile_example(tmp_path, variables={})
    key = config.Registry(trust=config.Trust(key=str(tmp_path)))
    weights = config.Model(pretrained=str(tmp_path))
    for params in (config.Params(model=weights), config.Params(registry=key)):
        inputs = Inputs("e807f842e3a1fa97e23ab2052d278d08.dir", params, Pin("tracker"))
        with pytest.raises(ConfigError, match=r"which no pod sees; put it on the volume"):
            package.compile_package(load(tmp_path), inputs, tmp_path / "pipeline.yaml")


def test_across_nodes_the_gpus_are_the_job_s(tmp_path: Path) -> None:
    text = compile_example(tmp_path, training={"mode": "trainjob", "nodes": 4}, volume="claim")
    spec, _ = package.read_documents(text)
    container = spec["deploymentSpec"]["executors"]["exec-train"]["container"]
    assert "accelerator" not in container["resources"]
    assert "TRACKLINE_TRAINJOB" in {entry["name"] for entry in container["env"]}
