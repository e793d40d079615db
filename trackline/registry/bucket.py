"""Model packages below an s3:// prefix, fetched by the sums that lie there."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from trackline import artifacts
from trackline.errors import PackageError, RegistryError
from trackline.registry.store import ENVIRONMENT, explaining

OPTIONAL = (artifacts.SIGNATURE,)  # what a package may hold that its sums do not list


def read_sums(address: str) -> bytes:
    """The SHA256SUMS of the package at s3://bucket/prefix; raises RegistryError when there is none."""
    with explaining(address):
        found = _read(address, artifacts.SUMS)
    if found is None:
        raise RegistryError(
            f"{address} has no {artifacts.SUMS}; name the folder of a model package, as s3://bucket/models/7"
        )
    return found


def fetch(address: str, sums: bytes, out: Path) -> None:
    """Place the package with these sums in a folder, or change nothing.

    Raises PackageError naming a file that is missing or does not match.
    """
    with explaining(address), artifacts.replacing_folder(out) as new:
        (new / artifacts.SUMS).write_bytes(sums)
        listed = artifacts.read_sums(new / artifacts.SUMS)
        for name in (*listed, *OPTIONAL):
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise PackageError(
                    f"{address} lists {name}, which leaves its folder; do not use it"
                )
            content = _read(address, name)
            if content is not None:
                (new / path).parent.mkdir(parents=True, exist_ok=True)
                (new / path).write_bytes(content)
        if altered := artifacts.find_altered(new):
            raise PackageError(
                f"{address} was altered: {', '.join(altered)} does not match {artifacts.SUMS}; upload the "
                "package again"
            )


def _read(address: str, name: str) -> bytes | None:
    """One object's bytes; None when there is no such object."""
    parts = urlsplit(address)
    key = str(PurePosixPath(parts.path.strip("/")) / name)
    client = _connect()
    try:
        found: bytes = client.get_object(Bucket=parts.netloc, Key=key)["Body"].read()
    except client.exceptions.NoSuchKey:
        return None
    return found


def _connect() -> Any:
    """A client by the environment's address and keys: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and so on."""
    import os

    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import boto3

    return boto3.Session().client("s3")  # the default session would remember earlier keys
