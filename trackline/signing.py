"""Signatures of model packages, in OpenSSF's format (the model-signing package).

They are made with a key of one's own (a PEM file of an elliptic curve, as `openssl ecparam` makes) or without
one, by Sigstore, which vouches for the identity of whoever signs: a workflow or a person that an OpenID
issuer knows. The signature is the file model.sig in the package. It covers every other file, sums included;
the sums do not cover it, since it comes later.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from trackline.artifacts import SIGNATURE
from trackline.config import Trust
from trackline.errors import PackageError

KEYLESS = "keyless"


def find_trust(params: Trust) -> Trust:
    """Who must have signed: what TRACKLINE_TRUSTED_… in the environment says, else what params.yaml says."""
    given = [os.environ.get(f"TRACKLINE_TRUSTED_{n}") for n in ("KEY", "IDENTITY", "ISSUER")]
    return Trust(*(value or None for value in given)) if any(given) else params


def sign(package: Path, key: str, out: Path) -> None:
    """Write the signature of a package with a private key, or `keyless`; raises PackageError if it cannot."""
    with TemporaryDirectory() as scratch:
        try:
            config = _import("signing").Config()
            if key == KEYLESS:
                signer = config.use_sigstore_signer(
                    identity_token=_find_identity(), trust_config=_find_sigstore(Path(scratch))
                )
            else:
                signer = config.use_elliptic_key_signer(
                    private_key=key, password=os.environ.get("TRACKLINE_SIGNING_PASSWORD")
                )
            signer.set_hashing_config(_cover(package)).sign(package, out)
        except PackageError:
            raise
        except Exception as error:  # of a dozen classes: files, keys, certificates, the network
            raise PackageError(
                f"{package} cannot be signed with {key} ({_explain(error)}); name a PEM file of an "
                f"elliptic-curve key in TRACKLINE_SIGNING_KEY, or {KEYLESS} where Sigstore can be reached"
            ) from None


def confirm(package: Path, trust: Trust) -> None:
    """Refuse a package that was not signed by whom we trust; where nobody is named, nothing is asked.

    Raises PackageError saying what is wrong.
    """
    signer = trust.key or trust.identity
    if not signer:
        return
    if trust.key and not Path(trust.key).is_file():
        raise PackageError(
            f"the trusted key {trust.key} does not exist, so nothing can be trusted; restore it"
        )
    if not (package / SIGNATURE).is_file():
        raise PackageError(
            f"{package} has no {SIGNATURE}, and {signer} is to vouch for it; register the model with "
            "TRACKLINE_SIGNING_KEY set"
        )
    verifying = _import("verifying")
    # The signature is read from elsewhere, as everything in the folder has to be covered by it.
    with TemporaryDirectory() as scratch:
        apart = Path(shutil.copy(package / SIGNATURE, scratch))
        try:
            config = verifying.Config()
            if trust.key:
                verifier = config.use_elliptic_key_verifier(public_key=trust.key)
            else:
                verifier = config.use_sigstore_verifier(
                    identity=trust.identity,
                    oidc_issuer=trust.issuer,
                    trust_config=_find_sigstore(Path(scratch), offline=True),
                )
            verifier.set_hashing_config(_cover(package)).verify(package, apart)
        except Exception as error:  # the library has no class of its own for a signature that fails
            raise PackageError(
                f"{package} is not signed by {signer} ({_explain(error)}); fetch it again or ask who made it"
            ) from None


def _find_identity() -> str:
    """A token that says who we are: given in SIGSTORE_ID_TOKEN, or asked of the CI we run in."""
    from sigstore.oidc import detect_credential

    token = os.environ.get("SIGSTORE_ID_TOKEN") or detect_credential()
    if not token:
        raise PackageError(
            "signing without a key needs an identity, and there is none here; grant a workflow `id-token: "
            "write`, or put an OpenID token for `sigstore` into SIGSTORE_ID_TOKEN"
        )
    return str(token)


def _find_sigstore(scratch: Path, *, offline: bool = False) -> Path | None:
    """A file that names Sigstore's keys and addresses: TRACKLINE_SIGSTORE, else the public ones.

    With `offline` the public keys that were last seen on this machine do when they cannot be renewed.
    """
    if own := os.environ.get("TRACKLINE_SIGSTORE"):
        return Path(own)
    if not offline:
        return None
    from sigstore.errors import TUFError
    from sigstore.models import ClientTrustConfig

    try:
        known = ClientTrustConfig.production()
    except TUFError:
        known = ClientTrustConfig.production(offline=True)
    file = scratch / "sigstore.json"
    file.write_text(known._inner.to_json(), encoding="utf-8")
    return file


def _cover(package: Path) -> Any:
    # model-signing would leave out .git and the like; here nothing but the signature is left out
    return (
        _import("hashing")
        .Config()
        .set_ignored_paths(paths=[package / SIGNATURE], ignore_git_paths=False)
    )


def _import(part: str) -> Any:
    """A module of model-signing, which the library alone does not bring."""
    import importlib

    try:
        return importlib.import_module(f"model_signing.{part}")
    except ImportError as error:
        raise PackageError(
            f"signatures need the package {error.name}, which is not installed; pip install "
            "'trackline[signing]'"
        ) from None


def _explain(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
