"""Registration over PostgreSQL, an MLflow server and S3, and what breaks between them.

Each fault has to end in one sentence within bounds, leave no version behind, and be over when it is over.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.proxy import Proxy
from tests.services.servers import BUCKET, KEYS, running_mlflow
from trackline import artifacts, champion, registry
from trackline.config import Registry
from trackline.errors import RegistryError, RegistryUnreachable, TracklineError

pytestmark = pytest.mark.services
EXPIRED = (
    b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nConnection: close\r\n\r\n"
    b"<?xml version='1.0'?><Error><Code>ExpiredToken</Code><Message>The provided token has "
    b"expired.</Message></Error>"
)
BROKEN = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Line:
    """Client – proxy – MLflow server over PostgreSQL – proxy – S3."""

    def __init__(self, postgres: str, s3: str, folder: Path) -> None:
        self.postgres, self.folder = postgres, folder
        self.storage = Proxy(int(s3.rsplit(":", 1)[1]))
        self.front = Proxy(0)
        self.start()

    def start(self) -> None:
        self.running = running_mlflow(
            self.postgres, f"s3://{BUCKET}/faults", self.storage.address, self.folder
        )
        address = self.running.__enter__()
        self.front.target = int(address.rsplit(":", 1)[1])

    def kill(self) -> None:
        """As the kernel would, with no chance to tidy up."""
        for line in subprocess.check_output(
            ("ps", "-ww", "-eo", "pid,args"), text=True
        ).splitlines():
            pid, _, command = line.strip().partition(" ")
            if f"--port {self.front.target}" in command:
                os.kill(int(pid), signal.SIGKILL)

    def heal(self) -> None:
        self.storage.heal()
        self.front.heal()

    def stop(self) -> None:
        self.running.__exit__(None, None, None)
        self.storage.close()
        self.front.close()


@pytest.fixture(scope="module")
def services(postgres: str, swift: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    made = Line(postgres, swift, tmp_path_factory.mktemp("line"))
    yield made
    made.stop()


@pytest.fixture
def line(services: Line, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Line]:
    """The services in good health, with a client that gives up soon."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", services.front.address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    services.heal()
    yield services
    services.heal()


@pytest.fixture
def store(line: Line, tmp_path: Path) -> registry.Store:
    return registry.connect(Registry(name=f"model-{tmp_path.name}"), tmp_path)


def put(store: registry.Store, folder: Path, size: int = 4_000_000) -> registry.Version:
    """Register a package of so many bytes."""
    if not folder.exists():
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(os.urandom(size))
        artifacts.write_sums(folder)
    note = folder.with_name("gate.json")
    note.write_text("{}")
    return registry.register(
        store, folder, {"gate.json": note}, tags={}, metrics={"ao": 0.5}, curves={}
    )


def test_a_version_goes_in_and_comes_back(store: registry.Store, tmp_path: Path) -> None:
    version = put(store, tmp_path / "package")
    registry.fetch(store, version.version, tmp_path / "out")
    assert artifacts.verify(tmp_path / "out/model") == version.sha256
    assert put(store, tmp_path / "package").version == version.version


def test_promotions_at_once_have_one_winner(store: registry.Store, tmp_path: Path) -> None:
    """Six machines, each with a home and thus a lock of its own, promote six versions at once."""
    numbers = [put(store, tmp_path / f"package{i}", 100).version for i in range(6)]
    outcomes: list[str] = []

    def promote(number: int) -> None:
        mine = registry.connect(Registry(name=store.name), tmp_path / f"machine{number}")
        try:
            champion.promote(mine, number, None, f"from machine {number}", "accepted")
            outcomes.append("won")
        except RegistryError as error:
            assert "as champion.json says" in str(error)  # noqa: PT017
            outcomes.append("lost")

    threads = [threading.Thread(target=promote, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["lost"] * 5 + ["won"]
    found = champion.find_champion(store)
    assert found is not None
    assert registry.list_aliases(store)["champion"] == found.version


def test_registrations_of_one_content_at_once_make_one_version(
    store: registry.Store, tmp_path: Path
) -> None:
    (tmp_path / "source").mkdir()
    put(store, tmp_path / "source/other", 100)
    package = tmp_path / "package"
    package.mkdir()
    (package / "model.safetensors").write_bytes(os.urandom(100))
    artifacts.write_sums(package)
    (tmp_path / "gate.json").write_text("{}")
    found: list[int] = []

    def work(i: int) -> None:
        mine = registry.connect(Registry(name=store.name), tmp_path / f"machine{i}")
        found.append(put(mine, package).version)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    same = [
        v.version for v in registry.list_versions(store) if v.sha256 == artifacts.verify(package)
    ]
    assert len(same) == 1
    assert set(found) == set(same)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda line: line.storage.answer(BROKEN), id="S3 answers 500"),
        pytest.param(lambda line: line.storage.answer(EXPIRED), id="the server's S3 keys expired"),
        pytest.param(
            lambda line: line.storage.cut(500_000), id="S3 resets connections in an upload"
        ),
        pytest.param(lambda line: line.front.cut(500_000), id="the server resets them"),
        pytest.param(lambda line: line.front.answer(BROKEN), id="the server answers 500"),
    ],
)
def test_a_fault_is_one_sentence_leaves_no_version_and_is_over_when_it_is_over(
    line: Line, store: registry.Store, tmp_path: Path, fault: object
) -> None:
    assert callable(fault)
    fault(line)
    start = time.monotonic()
    with pytest.raises(RegistryUnreachable, match="cannot be used") as caught:
        put(store, tmp_path / "package")
    assert time.monotonic() - start < 300
    assert "\n" not in str(caught.value)
    line.heal()
    assert registry.list_versions(store) == []
    assert put(store, tmp_path / "package").version == 1
    registry.fetch(store, 1, tmp_path / "out")


def test_a_server_killed_in_an_upload_leaves_no_version(
    line: Line, store: registry.Store, tmp_path: Path
) -> None:
    line.front.slow(400_000)
    killer = threading.Timer(2, line.kill)
    killer.start()
    with pytest.raises(RegistryUnreachable, match="cannot be used"):
        put(store, tmp_path / "package")
    killer.join()
    line.start()
    line.heal()
    assert registry.list_versions(store) == []
    assert put(store, tmp_path / "package").version == 1


def test_slow_storage_takes_its_time_and_works(
    line: Line, store: registry.Store, tmp_path: Path
) -> None:
    line.storage.slow(1_000_000)
    assert put(store, tmp_path / "package").version == 1


def test_expired_keys_of_one_s_own_say_what_to_renew(
    line: Line, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": line.storage.address}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TRACKLINE_CACHE", str(tmp_path))
    line.storage.answer(EXPIRED)
    with pytest.raises(RegistryUnreachable, match=r"ExpiredToken.*; renew the credentials"):
        registry.locate(f"s3://{BUCKET}/anything")


def test_wrong_keys_are_refused_by_the_storage_and_say_what_to_renew(
    swift: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keys = {**KEYS, "AWS_SECRET_ACCESS_KEY": "planted-and-wrong", "AWS_ENDPOINT_URL": swift}
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TRACKLINE_CACHE", str(tmp_path))
    with pytest.raises(RegistryUnreachable, match=r"; renew the credentials") as caught:
        registry.locate(f"s3://{BUCKET}/anything")
    assert "planted-and-wrong" not in str(caught.value)


def test_a_full_disk_is_one_sentence_and_leaves_no_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedded registry on a disk of 3 MB."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    disk = tmp_path / "registry"
    disk.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk))
    if subprocess.run(mount, check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        store = registry.connect(Registry(), tmp_path)
        with pytest.raises(TracklineError, match="free space on that disk"):
            put(store, tmp_path / "package")
        assert registry.list_versions(store) == []
        shutil.rmtree(tmp_path / "package")
        assert put(store, tmp_path / "package", 1000).version == 1
    finally:
        subprocess.run(("umount", "--lazy", str(disk)), check=True)
