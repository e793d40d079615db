"""A signed package is one that the owner of a key vouches for, every byte of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from trackline import artifacts, signing
from trackline.errors import PackageError


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package that is legal wherever only its sums matter."""
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "model.safetensors").write_text("weights")
    artifacts.write_sums(folder)
    return folder


def make_keys(folder: Path, name: str = "key") -> tuple[Path, Path]:
    """A private and a public key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return private, public


def test_a_signed_package_is_trusted_and_still_has_its_sums(package: Path, tmp_path: Path) -> None:
    private, public = make_keys(tmp_path)
    before = artifacts.verify(package)
    signing.sign(package, private, package / artifacts.SIGNATURE)
    signing.confirm(package, public)
    assert artifacts.verify(package) == before


def test_without_a_trusted_key_nothing_is_asked(package: Path) -> None:
    signing.confirm(package, None)


def test_an_unsigned_package_is_refused(package: Path, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"has no model\.sig"):
        signing.confirm(package, make_keys(tmp_path)[1])


def test_a_package_altered_after_signing_is_refused_though_its_sums_fit(
    package: Path, tmp_path: Path
) -> None:
    private, public = make_keys(tmp_path)
    signing.sign(package, private, package / artifacts.SIGNATURE)
    (package / "model.safetensors").write_text("other weights")
    artifacts.write_sums(package)
    artifacts.verify(package)
    with pytest.raises(PackageError, match="is not signed by the owner"):
        signing.confirm(package, public)


def test_a_file_added_after_signing_is_refused(package: Path, tmp_path: Path) -> None:
    private, public = make_keys(tmp_path)
    signing.sign(package, private, package / artifacts.SIGNATURE)
    (package / ".gitignore").write_text("something")
    with pytest.raises(PackageError, match="is not signed by the owner"):
        signing.confirm(package, public)


def test_somebody_else_s_signature_is_refused(package: Path, tmp_path: Path) -> None:
    signing.sign(package, make_keys(tmp_path)[0], package / artifacts.SIGNATURE)
    with pytest.raises(PackageError, match="is not signed by the owner"):
        signing.confirm(package, make_keys(tmp_path, "other")[1])


def test_a_key_that_is_none_is_named(package: Path, tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("no key")
    with pytest.raises(PackageError, match=r"no\.pem .*TRACKLINE_SIGNING_KEY"):
        signing.sign(package, tmp_path / "no.pem", package / artifacts.SIGNATURE)
    with pytest.raises(PackageError, match="does not exist, so nothing can be trusted"):
        signing.confirm(package, tmp_path / "gone.pub")
