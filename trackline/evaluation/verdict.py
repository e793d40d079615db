"""The verdict as a file: bound by hash to what it judged, sealed, and confirmed before it is obeyed.

The seal finds edits, not forgery: who can write the registry could also write a sealed verdict.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trackline import artifacts, records
from trackline.config import Gate
from trackline.errors import DataError, GateRefused

SEAL = "seal_sha256"
FIRST = "run the step that writes it first"
AGAIN = "run python -m components.gate again"
BOUND = {
    "package_sha256": "the model package",
    "weights_sha256": "the weights",
    "metrics_sha256": "the metrics of the evaluation",
    "predictions_sha256": "the predictions",
    "evaluation_data_sha256": "the test data",
    "champion_sha256": "the champion",
    "thresholds_sha256": "the thresholds in params.yaml",
    "code_sha256": "the code of trackline.evaluation",
}
# What describes the model itself; the rest describes the day on which it was judged.
OF_THE_MODEL = tuple(BOUND)[:5]


@dataclass(frozen=True)
class Judged:
    """The files that a verdict is about."""

    package: Path = Path("artifacts/model")
    metrics: Path = Path("metrics/evaluate.json")
    predictions: Path = Path("artifacts/predictions.parquet")


def bind(judged: Judged, champion_sha256: str | None, thresholds: Gate) -> dict[str, str | None]:
    """Hash all that a verdict rests on; raises PackageError or DataError when something is amiss."""
    return {
        "package_sha256": artifacts.verify(judged.package),
        "weights_sha256": artifacts.sha256(judged.package / "model.safetensors"),
        "evaluation_data_sha256": read(judged.metrics).get("evaluation_data_sha256"),
        "metrics_sha256": artifacts.sha256(judged.metrics),
        "predictions_sha256": _hash(judged.predictions),
        "champion_sha256": champion_sha256,
        "thresholds_sha256": artifacts.digest(records.plain(thresholds)),
        "code_sha256": hash_code(),
    }


def hash_code() -> str:
    """Hash the sources that measure and judge: the modules of trackline.evaluation."""
    here = Path(__file__).parent
    return artifacts.digest({file.name: artifacts.sha256(file) for file in here.glob("*.py")})


def read(path: Path) -> dict[str, Any]:
    """Read the JSON object that a step wrote; raises DataError when there is none."""
    try:
        content = artifacts.read_json(path)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; {FIRST}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} is not JSON ({error}); run the step that writes it again"
        ) from None
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no object; run the step that writes it again")
    return content


def write(path: Path, verdict: Mapping[str, Any], bound: Mapping[str, str | None]) -> None:
    """Write a verdict together with what it is bound to, sealed."""
    artifacts.write_json(path, seal({**verdict, "bound": dict(bound)}))


def seal(content: Mapping[str, Any]) -> dict[str, Any]:
    """Add the hash over a result to it."""
    return {**content, SEAL: artifacts.digest(content)}


def is_sealed(content: Mapping[str, Any]) -> bool:
    """Whether a result is as it was sealed."""
    bare = {key: value for key, value in content.items() if key != SEAL}
    return bool(content.get(SEAL) == artifacts.digest(bare))


def confirm(
    path: Path, bound_now: Mapping[str, str | None], names: Collection[str] = tuple(BOUND)
) -> dict[str, Any]:
    """Give a verdict that was neither edited nor overtaken; raises GateRefused saying what differs.

    `bound_now` comes from `bind` on the files now present, `names` are the bounds to compare.
    """
    verdict = read(path)
    if not is_sealed(verdict):
        raise GateRefused(f"{path} was edited after the gate had written it; {AGAIN}")
    bound = verdict.get("bound", {})
    if changed := [BOUND[name] for name in names if bound.get(name) != bound_now.get(name)]:
        raise GateRefused(
            f"{path} no longer holds, because after the gate these changed: {', '.join(changed)}; {AGAIN}"
        )
    return verdict


def refuse_rejected(verdict: Mapping[str, Any], report: Path) -> None:
    """Raise GateRefused with the reason of every failed gate; return quietly when all passed."""
    failed = [f"{c['name']} ({c['why']})" for c in verdict["checks"] if not c["passed"]]
    if failed or not verdict["passed"]:
        count = f"{len(failed)} of {len(verdict['checks'])} gates failed"
        raise GateRefused(f"the model is refused, {count}: {'; '.join(failed)}; see {report}")


def _hash(path: Path) -> str:
    try:
        return artifacts.sha256(path)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; {FIRST}") from None
