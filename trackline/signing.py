"""Signatures of model packages, in OpenSSF's format (the model-signing package), with a key of one's own.

The signature is the file model.sig in the package. It covers every other file, sums included; the sums do
not cover it, since it comes later. Keys are PEM files of an elliptic curve, as `openssl ecparam` makes.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from trackline.artifacts import SIGNATURE
from trackline.errors import PackageError


def sign(package: Path, private_key: Path, out: Path) -> None:
    """Write the signature of a package; raises PackageError when the key cannot be used."""
    from model_signing import signing

    try:
        signer = signing.Config().use_elliptic_key_signer(
            private_key=private_key, password=os.environ.get("TRACKLINE_SIGNING_PASSWORD")
        )
        signer.set_hashing_config(_cover(package)).sign(package, out)
    except (OSError, ValueError, TypeError) as error:
        raise PackageError(
            f"{package} cannot be signed with {private_key} ({error}); name a PEM file of an elliptic-curve "
            "key in TRACKLINE_SIGNING_KEY"
        ) from None


def confirm(package: Path, public_key: str | Path | None) -> None:
    """Refuse a package that the owner of a key has not signed; without a key nothing is asked.

    Raises PackageError saying what is wrong.
    """
    if not public_key:
        return
    if not Path(public_key).is_file():
        raise PackageError(
            f"the trusted key {public_key} does not exist, so nothing can be trusted; restore it"
        )
    if not (package / SIGNATURE).is_file():
        raise PackageError(
            f"{package} has no {SIGNATURE}, and {public_key} is to vouch for it; register the model with "
            "TRACKLINE_SIGNING_KEY set"
        )
    from model_signing import verifying

    # The signature is read from elsewhere, as everything in the folder has to be covered by it.
    with TemporaryDirectory() as folder:
        apart = Path(shutil.copy(package / SIGNATURE, folder))
        try:
            verifier = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
            verifier.set_hashing_config(_cover(package)).verify(package, apart)
        except Exception as error:  # the library has no class of its own for a signature that fails
            reason = " ".join(str(error).split())[:200]
            raise PackageError(
                f"{package} is not signed by the owner of {public_key} ({reason}); fetch it again or ask "
                "who made it"
            ) from None


def _cover(package: Path) -> Any:
    from model_signing import hashing

    # model-signing would leave out .git and the like; here nothing but the signature is left out
    return hashing.Config().set_ignored_paths(paths=[package / SIGNATURE], ignore_git_paths=False)
