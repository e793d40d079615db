"""Containers for the local runner: the image as on a cluster, the project's folders mounted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from trackline.errors import UsageError


def contain(image: str, root: Path, remote: str, variables: dict[str, str]) -> Any:
    """A runner of containers with a read-only root filesystem and no root user.

    Raises UsageError without a container engine that has the image.
    """
    from docker.types import Mount
    from kfp import local

    _find(image)
    _wait_for_containers(variables)
    registry = Path("registry").resolve()
    folders = {str(root): False, str(registry): False, remote: True}
    for folder in (root, registry):
        folder.mkdir(parents=True, exist_ok=True)
    mounts = [
        Mount(path, path, type="bind", read_only=read_only)
        for path, read_only in folders.items()
        if Path(path).is_dir() and path != str(root)
    ]
    return local.DockerRunner(
        network_mode="host",
        read_only=True,
        tmpfs={"/tmp": ""},
        mounts=mounts,
        **_choose_user(root, registry),
    )


def _choose_user(*writable: Path) -> dict[str, str]:
    """Run as whoever asks; for root as the image's own user, who then may write where it must."""
    if os.getuid():
        return {"user": f"{os.getuid()}:{os.getgid()}"}
    os.umask(0)
    for folder in writable:
        for path in (folder, *folder.rglob("*")):
            path.chmod(path.stat().st_mode | (0o777 if path.is_dir() else 0o666))
    return {}


def _find(image: str) -> None:
    import docker
    from docker.errors import DockerException, ImageNotFound

    try:
        client = docker.from_env()
        client.images.get(image)
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
