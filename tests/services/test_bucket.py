"""Models fetched from an S3 prefix: whole, verified, and there when the bucket is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.services.servers import BUCKET, KEYS, make_client
from trackline import artifacts, registry
from trackline.errors import PackageError, RegistryError, RegistryUnreachable


@pytest.fixture
def address(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> str:
    """A package uploaded to a prefix of its own."""
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": s3}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TRACKLINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("AWS_MAX_ATTEMPTS", raising=False)
    package = tmp_path / "package"
    (package / "extra").mkdir(parents=True)
    (package / "model.safetensors").write_text("weights")
    (package / "extra/profile.json").write_text("{}")
    artifacts.write_sums(package)
    prefix = f"packages/{tmp_path.name}"
    for file in (p for p in package.rglob("*") if p.is_file()):
        make_client(s3).upload_file(
            str(file), BUCKET, f"{prefix}/{file.relative_to(package).as_posix()}"
        )
    return f"s3://{BUCKET}/{prefix}"


def put(s3: str, address: str, name: str, content: bytes) -> None:
    """Overwrite one object of a package."""
    key = f"{address.removeprefix(f's3://{BUCKET}/')}/{name}"
    make_client(s3).put_object(Bucket=BUCKET, Key=key, Body=content)


def test_a_package_comes_whole_and_stays(address: str, tmp_path: Path) -> None:
    folder = registry.locate(address)
    assert artifacts.verify(folder) == artifacts.verify(tmp_path / "package")
    assert registry.locate(f"{address}/") == folder


def test_a_tampered_package_is_refused_by_file_and_leaves_nothing(
    address: str, s3: str, tmp_path: Path
) -> None:
    put(s3, address, "model.safetensors", b"weightz")
    with pytest.raises(PackageError, match=r"was altered: model\.safetensors"):
        registry.locate(address)
    assert not list((tmp_path / "cache/models").glob("*/model"))


def test_sums_that_lead_out_of_the_folder_are_refused(
    address: str, s3: str, tmp_path: Path
) -> None:
    put(s3, address, "SHA256SUMS", f"{'0' * 64}  ../../../evil\n".encode())
    with pytest.raises(PackageError, match="leaves its folder"):
        registry.locate(address)


def test_a_prefix_without_a_package_is_named(address: str) -> None:
    with pytest.raises(RegistryError, match="has no SHA256SUMS"):
        registry.locate(f"s3://{BUCKET}/nothing/here")


def test_a_package_seen_before_is_there_when_the_bucket_is_not(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = registry.locate(address)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert registry.locate(address) == folder
    assert "as before" in capsys.readouterr().err
    with pytest.raises(RegistryUnreachable, match="cannot be used"):
        registry.locate(f"{address}-never-seen")
