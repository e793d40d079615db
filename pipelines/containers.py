"""Containers for the local runner: the image as on a cluster, the project's folders mounted."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from trackline.errors import UsageError

# what steps in subprocesses inherit, and a container is given by name
HANDED_ON = (
    "MLFLOW_TRACKING_", "AWS_", "TRACKLINE_UI", "TRACKLINE_WEBHOOK",
    "TRACKLINE_SIGNING_", "TRACKLINE_TRUSTED_",
)  # fmt: skip


def contain(
    image: str, writable: Iterable[Path], readable: Iterable[Path], variables: dict[str, str]
) -> Any:
    """A runner of containers that see the named folders and files and may write to the first of them.

    They have a read-only root filesystem and gain no privileges. Raises UsageError without a container engine
    that has the image.
    """
    from docker.types import Mount
    from kfp import local

    user = _find_user(image)
    inherited = {n: v for n, v in os.environ.items() if n.startswith(HANDED_ON)}
    _wait_for_containers(inherited | variables)
    folders = list(writable)
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    mounts = [Mount(str(f), str(f), type="bind") for f in folders]
    mounts += [Mount(str(p), str(p), type="bind", read_only=True) for p in readable]
    return local.DockerRunner(
        user=user,
        network_mode="host",
        read_only=True,
        tmpfs={"/tmp": ""},
        mounts=mounts,
        security_opt=["no-new-privileges"],
    )


def _find_user(image: str) -> str:
    """Whoever asks, so that what steps write is theirs; inside a rootless engine's containers that is 0."""
    import docker
    from docker.errors import DockerException, ImageNotFound

    try:
        client = docker.from_env()
        client.images.get(image)
        rootless = "name=rootless" in client.info().get("SecurityOptions", ())
        client.close()
    except ImageNotFound:
        raise UsageError(
            f"the container engine has no image {image}; build it with make image, or name another "
            "with --image"
        ) from None
    except DockerException as error:
        raise UsageError(
            f"no container engine answers ({str(error)[:120]}); start Docker or Podman's socket and name it "
            "in DOCKER_HOST, or leave --containers out to run in subprocesses"
        ) from None
    return "0:0" if rootless else f"{os.getuid()}:{os.getgid()}"


def _wait_for_containers(variables: dict[str, str]) -> None:
    """kfp 2.17 removes a container before it asks how it ended, and then calls that a success."""
    from kfp.local import docker_task_handler

    def run(
        client: Any, image: str, command: list[str], volumes: dict[str, Any], **options: Any
    ) -> int:
        given = variables | options.pop("environment", {})
        container = client.containers.run(
            image, command, detach=True, volumes=volumes, environment=given, **options
        )
        try:
            for line in container.logs(stream=True):
                print(line.decode(errors="replace"), end="")
            return int(container.wait()["StatusCode"])
        finally:
            container.remove(force=True)

    docker_task_handler.run_docker_container = run
