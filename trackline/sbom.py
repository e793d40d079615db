"""The software bill of materials: what is installed where a model was made, as CycloneDX 1.6."""

from __future__ import annotations

from importlib import metadata
from typing import Any


def list_packages() -> dict[str, Any]:
    """Name, version, licence and address (purl) of every installed distribution, sorted."""
    found = {d.metadata["Name"].lower(): d for d in metadata.distributions() if d.metadata["Name"]}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "components": [_describe(found[name]) for name in sorted(found)],
    }


def _describe(distribution: metadata.Distribution) -> dict[str, Any]:
    name, version = distribution.metadata["Name"], distribution.version
    purl = f"pkg:pypi/{name.lower().replace('_', '-')}@{version}"
    licence = distribution.metadata.json.get("license_expression")
    named = {"licenses": [{"expression": licence}]} if licence else {}
    return {
        "type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl, **named,
    }  # fmt: skip
