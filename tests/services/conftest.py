"""Real services on this machine: an MLflow server and an S3 endpoint, each on a free port of loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest

BUCKET = "team"
KEYS = {
    "AWS_ACCESS_KEY_ID": "testing-key",
    "AWS_SECRET_ACCESS_KEY": "testing-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of an S3 endpoint (moto's server, which checks no credentials) with one bucket."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    make_client(address).create_bucket(Bucket=BUCKET)
    yield address
    server.stop()


def make_client(address: str):  # type: ignore[no-untyped-def]
    """An S3 client of that endpoint."""
    return boto3.client(
        "s3",
        endpoint_url=address,
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        region_name=KEYS["AWS_DEFAULT_REGION"],
    )


@pytest.fixture(scope="session")
def mlflow_server(s3: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server that keeps its artifacts on S3, so that clients need no keys."""
    folder = tmp_path_factory.mktemp("mlflow")
    with serving(f"sqlite:///{folder}/mlflow.db", f"s3://{BUCKET}/models", s3, folder) as address:
        yield address


@contextmanager
def serving(backend: str, destination: str, s3: str, folder: Path) -> Iterator[str]:
    """Run an MLflow server on loopback until the end of the block."""
    port = find_port()
    address = f"http://127.0.0.1:{port}"
    command = [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", backend,
        "--artifacts-destination", destination, "--host", "127.0.0.1", "--port", str(port),
        "--allowed-hosts", "127.0.0.1:*", "--workers", "1",
    ]  # fmt: skip
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")},
        **KEYS,
        "MLFLOW_S3_ENDPOINT_URL": s3,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "AWS_MAX_ATTEMPTS": "2",
    }
    log = (folder / "server.log").open("w")
    server = subprocess.Popen(
        command, env=environment, stdout=log, stderr=log, cwd=folder, start_new_session=True
    )
    try:
        wait_for(f"{address}/health", server)
        yield address
    finally:
        os.killpg(server.pid, 15)
        server.wait(timeout=60)
        log.close()


def find_port() -> int:
    """A port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(address: str, server: subprocess.Popen[bytes], seconds: float = 240) -> None:
    """Wait until a server answers; fails when it ends or takes too long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert server.poll() is None, "the server ended; see server.log"
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"{address} did not answer within {seconds:.0f} s")
