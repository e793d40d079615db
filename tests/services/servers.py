"""Servers on free ports of loopback: PostgreSQL from Debian, OpenStack Swift as S3, MLflow."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import boto3
import pytest

BUCKET = "team"
# an account of Swift's test log-in; moto, which stands in for it, checks no keys
KEYS = {
    "AWS_ACCESS_KEY_ID": "test:tester",
    "AWS_SECRET_ACCESS_KEY": "testing-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
SWIFT = "swift==2.38.3"
PROXY = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
swift_dir = {folder}
workers = 0
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache listing_formats s3api tempauth slo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing-secret .admin
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
"""
STORE = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
workers = 0
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
FILTERS = ("catch_errors", "gatekeeper", "healthcheck", "cache:memcache", "listing_formats", "slo")


def make_client(address: str):  # type: ignore[no-untyped-def]
    """An S3 client of that endpoint."""
    return boto3.client(
        "s3",
        endpoint_url=address,
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        region_name=KEYS["AWS_DEFAULT_REGION"],
    )


@contextmanager
def running_moto() -> Iterator[str]:
    """The address of moto's mock of S3, with one bucket."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    make_client(f"http://{host}:{port}").create_bucket(Bucket=BUCKET)
    yield f"http://{host}:{port}"
    server.stop()


@contextmanager
def running_swift(folder: Path) -> Iterator[str]:
    """The address of a Swift cluster of one replica that speaks S3 and checks keys, with one bucket.

    Skips the test when Swift cannot be installed.
    """
    programs = install_swift(folder / "venv")
    ports = {kind: find_port() for kind in ("account", "container", "object", "proxy")}
    (folder / "devices/d1").mkdir(parents=True)
    (folder / "swift.conf").write_text(
        "[swift-hash]\nswift_hash_path_prefix = a\nswift_hash_path_suffix = b\n"
    )
    with ExitStack() as stack:
        for kind, port in ports.items():
            text = (PROXY if kind == "proxy" else STORE).format(port=port, folder=folder, kind=kind)
            if kind == "proxy":
                pairs = [name.partition(":") for name in FILTERS]
                text += "".join(f"[filter:{a}]\nuse = egg:swift#{b or a}\n" for a, _, b in pairs)
            else:
                build_ring(programs, folder, kind, port)
            (folder / f"{kind}.conf").write_text(text)
            command = [str(programs / f"swift-{kind}-server"), str(folder / f"{kind}.conf")]
            environment = {"SWIFT_DIR": str(folder), "PATH": os.environ["PATH"]}
            server = stack.enter_context(running(command, folder / f"{kind}.log", environment))
            if kind == "proxy":
                wait_for(f"http://127.0.0.1:{port}/healthcheck", server)
        address = f"http://127.0.0.1:{ports['proxy']}"
        make_client(address).create_bucket(Bucket=BUCKET)
        yield address


def install_swift(venv: Path) -> Path:
    """Make an environment with Swift, whose dependencies are nobody else's; returns its programs."""
    uv = [sys.executable, "-m", "uv"]
    install = [*uv, "pip", "install", "-q", "--python", str(venv / "bin/python"), SWIFT]
    for command in ([*uv, "venv", "-q", "--seed", str(venv)], install):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"{SWIFT} cannot be installed: {done.stderr.strip()[-200:]}")
    return venv / "bin"


def build_ring(programs: Path, folder: Path, kind: str, port: int) -> None:
    """Write the ring file that says where one kind of server is: here, with one replica."""
    builder = [str(programs / "swift-ring-builder"), str(folder / f"{kind}.builder")]
    for arguments in (
        ["create", "4", "1", "0"],
        ["add", f"r1z1-127.0.0.1:{port}/d1", "1"],
        ["rebalance"],
    ):
        done = subprocess.run([*builder, *arguments], check=False, capture_output=True, text=True)
        assert done.returncode <= 1, done.stdout + done.stderr  # 1 is a warning


@contextmanager
def running_postgres() -> Iterator[str]:
    """The address of a database of a new PostgreSQL server; skips the test without Debian's package.

    The server refuses to run as root, who becomes nobody for it.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        pytest.skip("PostgreSQL is not in /usr/lib/postgresql; install Debian's package postgresql")
    user = "nobody" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    folder.chmod(0o700)
    if user:
        shutil.chown(folder, user)
    port, data = find_port(), str(folder / "data")

    def call(program: str, *arguments: str) -> None:
        command = [str(found[-1] / program), *arguments]
        subprocess.run(command, check=True, user=user, stdout=subprocess.DEVNULL, cwd="/")

    call("initdb", "-D", data, "-U", "mlflow", "--auth=trust")
    options = f"-h 127.0.0.1 -p {port} -k {folder} -c fsync=off"
    call("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        call("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "mlflow", "mlflow")
        yield f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/mlflow"
    finally:
        call("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_mlflow(backend: str, destination: str, s3: str, folder: Path) -> Iterator[str]:
    """The address of an MLflow server, started as docs/registry.md says."""
    port = find_port()
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
    with running(command, folder / "server.log", environment) as server:
        wait_for(f"http://127.0.0.1:{port}/health", server)
        yield f"http://127.0.0.1:{port}"


@contextmanager
def running(
    command: list[str], log: Path, environment: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server and its children until the end of the block."""
    with log.open("w") as file:
        server = subprocess.Popen(
            command, env=environment, stdout=file, stderr=file, cwd=log.parent,
            start_new_session=True,
        )  # fmt: skip
        try:
            yield server
        finally:
            for signal in (15, 9):  # it may wait for clients that keep their connections
                if server.poll() is None:
                    os.killpg(server.pid, signal)
                with suppress(subprocess.TimeoutExpired):
                    server.wait(timeout=20)


def find_port() -> int:
    """A port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(address: str, server: subprocess.Popen[bytes], seconds: float = 600) -> None:
    """Wait until a server answers; fails when it ends or takes too long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert server.poll() is None, f"the server ended: {server.args!r}; see its log"
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"{address} did not answer within {seconds:.0f} s")
