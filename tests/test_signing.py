"""A signed package is one that the owner of a key vouches for, every byte of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.services.sigstore import make_token, running_sigstore
from trackline import artifacts, config, signing
from trackline.config import Trust
from trackline.errors import ConfigError, PackageError

WORKFLOW = "https://example.org/team/tracker/.github/workflows/register.yml@refs/heads/main"
ISSUER = "https://token.example.org"


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
    signing.sign(package, str(private), package / artifacts.SIGNATURE)
    signing.confirm(package, Trust(str(public)))
    assert artifacts.verify(package) == before


def test_without_a_trusted_key_nothing_is_asked(package: Path) -> None:
    signing.confirm(package, Trust())


def test_an_unsigned_package_is_refused(package: Path, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"has no model\.sig"):
        signing.confirm(package, Trust(str(make_keys(tmp_path)[1])))


def test_a_package_altered_after_signing_is_refused_though_its_sums_fit(
    package: Path, tmp_path: Path
) -> None:
    private, public = make_keys(tmp_path)
    signing.sign(package, str(private), package / artifacts.SIGNATURE)
    (package / "model.safetensors").write_text("other weights")
    artifacts.write_sums(package)
    artifacts.verify(package)
    with pytest.raises(PackageError, match="is not signed by"):
        signing.confirm(package, Trust(str(public)))


def test_a_file_added_after_signing_is_refused(package: Path, tmp_path: Path) -> None:
    private, public = make_keys(tmp_path)
    signing.sign(package, str(private), package / artifacts.SIGNATURE)
    (package / ".gitignore").write_text("something")
    with pytest.raises(PackageError, match="is not signed by"):
        signing.confirm(package, Trust(str(public)))


def test_somebody_else_s_signature_is_refused(package: Path, tmp_path: Path) -> None:
    signing.sign(package, str(make_keys(tmp_path)[0]), package / artifacts.SIGNATURE)
    with pytest.raises(PackageError, match="is not signed by"):
        signing.confirm(package, Trust(str(make_keys(tmp_path, "other")[1])))


def test_a_key_that_is_none_is_named(package: Path, tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("no key")
    with pytest.raises(PackageError, match=r"no\.pem .*TRACKLINE_SIGNING_KEY"):
        signing.sign(package, str(tmp_path / "no.pem"), package / artifacts.SIGNATURE)
    with pytest.raises(PackageError, match="does not exist, so nothing can be trusted"):
        signing.confirm(package, Trust(str(tmp_path / "gone.pub")))


@pytest.fixture
def keyless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place where Sigstore can be reached, and a workflow's identity is at hand."""
    with running_sigstore(tmp_path) as file:
        monkeypatch.setenv("TRACKLINE_SIGSTORE", str(file))
        monkeypatch.setenv("SIGSTORE_ID_TOKEN", make_token(WORKFLOW, ISSUER))
        yield file


def test_without_a_key_it_is_the_identity_that_counts(package: Path, keyless: Path) -> None:
    signing.sign(package, "keyless", package / artifacts.SIGNATURE)
    signing.confirm(package, Trust(identity=WORKFLOW, issuer=ISSUER))
    with pytest.raises(PackageError, match=r"is not signed by https://example\.org/evil"):
        signing.confirm(package, Trust(identity="https://example.org/evil", issuer=ISSUER))
    with pytest.raises(PackageError, match="is not signed by"):
        signing.confirm(package, Trust(identity=WORKFLOW, issuer="https://evil.example.org"))


def test_a_package_altered_after_signing_without_a_key_is_refused(
    package: Path, keyless: Path
) -> None:
    signing.sign(package, "keyless", package / artifacts.SIGNATURE)
    (package / "model.safetensors").write_text("other weights")
    artifacts.write_sums(package)
    with pytest.raises(PackageError, match="is not signed by"):
        signing.confirm(package, Trust(identity=WORKFLOW, issuer=ISSUER))


def test_the_signature_of_another_sigstore_is_refused(
    package: Path, keyless: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signing.sign(package, "keyless", package / artifacts.SIGNATURE)
    monkeypatch.delenv("TRACKLINE_SIGSTORE")
    with pytest.raises(PackageError, match="is not signed by"):
        signing.confirm(package, Trust(identity=WORKFLOW, issuer=ISSUER))


def test_signing_without_key_and_identity_says_where_one_comes_from(
    package: Path, keyless: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SIGSTORE_ID_TOKEN")
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    with pytest.raises(PackageError, match=r"needs an identity.*SIGSTORE_ID_TOKEN"):
        signing.sign(package, "keyless", package / artifacts.SIGNATURE)


def test_a_trust_policy_that_names_too_much_or_too_little_is_refused() -> None:
    with pytest.raises(ConfigError, match="keep one of them"):
        Trust(key="a.pub", identity="ada", issuer=ISSUER)
    with pytest.raises(ConfigError, match="give both"):
        Trust(identity="ada")


def test_the_environment_says_whom_to_trust_where_there_are_no_params(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRACKLINE_TRUSTED_IDENTITY", WORKFLOW)
    monkeypatch.setenv("TRACKLINE_TRUSTED_ISSUER", ISSUER)
    assert signing.find_trust(Trust(key="a.pub")) == Trust(None, WORKFLOW, ISSUER)
    monkeypatch.delenv("TRACKLINE_TRUSTED_IDENTITY")
    monkeypatch.delenv("TRACKLINE_TRUSTED_ISSUER")
    assert signing.find_trust(Trust(key="a.pub")) == Trust(key="a.pub")


def test_the_policy_of_the_project_in_the_working_directory_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("registry: {trust: {key: a.pub}}\n")
    assert config.find_registry().trust == Trust()  # some other program's, perhaps
    (tmp_path / "champion.json").write_text("{}")
    assert config.find_registry().trust == Trust(key="a.pub")


def test_a_machine_with_the_library_alone_is_told_what_signatures_need(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = make_keys(tmp_path)
    signing.sign(package, str(private), package / artifacts.SIGNATURE)
    monkeypatch.setitem(sys.modules, "model_signing.verifying", None)
    with pytest.raises(PackageError, match=r"pip install 'trackline\[signing\]'"):
        signing.confirm(package, Trust(str(public)))
