"""The bill of materials is what it says: valid CycloneDX, every distribution once."""

from __future__ import annotations

import json
from importlib import metadata

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from trackline.sbom import list_packages


def test_it_is_valid_and_complete_and_the_same_each_time() -> None:
    content = list_packages()
    text = json.dumps(content)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    versions = {item["name"].lower(): item["version"] for item in content["components"]}
    for name in ("torch", "safetensors", "mlflow"):
        assert versions[name] == metadata.version(name)
    assert len({item["bom-ref"] for item in content["components"]}) == len(content["components"])
    assert json.dumps(list_packages()) == text
