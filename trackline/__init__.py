"""Trackline: from annotated video to a gated, registered multi-task tracker."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trackline.models.package import Package

__all__ = ["load"]


def load(model: str | Path, device: str = "cpu") -> Package:
    """Load a model from a package folder or the registry ("models:/tracker@champion"), verified.

    Raises PackageError when its files do not match their sums, RegistryError when there is none.
    """
    from trackline.models import package

    if str(model).startswith("models:/"):
        from trackline.registry import locate

        return package.load(locate(str(model)), device)
    return package.load(Path(model), device)
