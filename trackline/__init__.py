"""Trackline: from annotated video to a gated, registered multi-task tracker."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trackline.models.package import Package

__all__ = ["load"]


def load(model: str | Path, device: str = "cpu") -> Package:
    """Load a model, verified: a folder, s3://bucket/prefix, or a name like models:/tracker@champion.

    Names mean what params.yaml of the project in the working directory says, if there is one. Raises
    PackageError naming the files that do not match their sums, or when whoever is trusted has not signed it;
    RegistryError when there is none.
    """
    from trackline import config, signing
    from trackline.models import package

    if str(model).startswith(("models:/", "s3://")):
        from trackline.registry import locate

        return package.load(locate(str(model), config.find_registry()), device)
    signing.confirm(Path(model), signing.find_trust(config.Trust()))
    return package.load(Path(model), device)
