"""Tensors that the reference computed, where to find them, and a table of how far off we are.

A folder of the reference's tensors is taken from the environment variable GOLDEN (`make parity`
sets it), else from shared/golden beside the project; without either, the few committed here serve.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor

from trackline import config
from trackline.models.network import Network
from trackline.models.weights import load_state, rename_reference

HERE = Path(__file__).parent
SHARED = HERE.parents[2] / "shared" / "golden"


@dataclass(frozen=True)
class Deviation:
    """One comparison with a tensor of the reference."""

    key: str
    value: float
    tolerance: float


RECORDS = pytest.StashKey[dict[str, list[Deviation]]]()


@dataclass(frozen=True)
class Golden:
    """One file of the reference's tensors; what a file lacks skips the test that asks for it."""

    path: Path
    records: list[Deviation]

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """All tensors; float16 ones are exact and widened."""
        loaded = safetensors.torch.load_file(self.path)
        return {k: v.float() if v.dtype == torch.float16 else v for k, v in loaded.items()}

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """The reference's state dict."""
        return {k[2:]: v for k, v in self.tensors.items() if k.startswith("w.")}

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """Sizes and cases."""
        with safe_open(self.path, "pt") as file:
            return {k: _parse(v) for k, v in file.metadata().items()}

    def __getitem__(self, key: str) -> Tensor:
        if key not in self.tensors:
            pytest.skip(f"{self.path} has no {key}")
        return self.tensors[key]

    def agree(
        self,
        expected: str | Tensor,
        actual: Any,
        tolerance: float = 1e-4,
        name: str = "",
    ) -> None:
        """Compare with a tensor, or the one of that name: relative to max(1, |expected|)."""
        name = expected if isinstance(expected, str) else name
        wanted = (self[expected] if isinstance(expected, str) else expected).detach().double()
        given = torch.as_tensor(actual).detach().double().reshape(wanted.shape)
        off = (given - wanted).abs() / wanted.abs().clamp(min=1)
        off = off.where(given.isfinite() | wanted.isfinite(), torch.zeros(()).double())
        value = float(off.nan_to_num(torch.inf).max()) if off.numel() else 0.0
        self.records.append(Deviation(name, value, tolerance))
        assert value <= tolerance, f"{name} of {self.path.name} is off by {value:.2g}"

    def architecture(self, **changes: Any) -> config.Model:
        """The plain reference at the sizes of this file."""
        known = self.metadata
        layers = () if known["ce"] == "none" else tuple(known["ce"])
        temporal = any("temporal" in name for name in self.weights)
        model = config.Model(
            variant="tracking",
            template=config.Crop(known["T"], 2.0),
            search=config.Crop(known["S"], 5.0),
            backbone=config.Backbone(
                patch=known.get("patch", 16), width=known["D"], depth=known["depth"],
                heads=known["heads"], drop_path=0.0, temporal=temporal,
            ),
            elimination=config.Elimination(layers, tuple(known["r"][: len(layers)])),
            history=config.History(key_width=known.get("key", 64)),
            head_width=known.get("ch", 256),
            reference_compat=True,
        )  # fmt: skip
        return replace(model, **changes)

    def network(self, **changes: Any) -> Network:
        """The network with this file's weights, as `trackline.models.weights` reads them."""
        network = Network(self.architecture(**changes), 0)
        report = load_state(network, self.weights, self.path.name)
        assert not report.initialised
        return network.eval()

    def part(self, prefix: str, reference_prefix: str = "") -> dict[str, Tensor]:
        """State of one module: its entries among the renamed weights, without their prefix."""
        renamed = rename_reference({reference_prefix + k: v for k, v in self.weights.items()})
        return {k.removeprefix(prefix): v for k, v in renamed.items() if k.startswith(prefix)}


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


@pytest.fixture(scope="session")
def golden(request: pytest.FixtureRequest) -> Callable[[str], Golden]:
    """Open a file of the reference's tensors by its name."""
    records = request.config.stash.setdefault(RECORDS, {})
    files: dict[str, Golden] = {}

    def find(name: str) -> Golden:
        path = find_file(f"{name}.safetensors")
        return files.setdefault(name, Golden(path, records.setdefault(name, [])))

    return find


def find_file(name: str) -> Path:
    """A file of the folder asked for, or of those at hand; skips where there is none."""
    asked = os.environ.get("GOLDEN")
    folders = [Path(asked)] if asked else [SHARED, HERE]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    pytest.skip(f"{name} is not in {' or '.join(map(str, folders))}; see make parity")


@pytest.fixture(scope="session")
def golden_file() -> Callable[[str], Path]:
    """Find a file that is not made of tensors."""
    return find_file


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker of tests that only `make parity` runs."""
    config.addinivalue_line("markers", "slow: takes minutes; only `make parity` runs it")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the slow tests to `make parity`."""
    if "GOLDEN" not in os.environ:
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="takes minutes; run make parity"))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A folder in which there is nothing to compare is no parity."""
    compared = any(session.config.stash.get(RECORDS, {}).values())
    if "GOLDEN" in os.environ and not compared and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
    """The largest deviation for each file, what was not compared, and the verdict."""
    if "GOLDEN" not in os.environ:
        return
    records, line = terminalreporter.config.stash.get(RECORDS, {}), terminalreporter.write_line
    line(f"{'file':16}{'comparisons':>12}{'largest deviation':>20}{'allowed':>10}  verdict  of")
    for name, deviations in sorted(records.items()):
        if deviations:
            worst = max(deviations, key=lambda d: (d.value > d.tolerance, d.value))
            verdict = "FAIL" if worst.value > worst.tolerance else "ok"
            numbers = f"{len(deviations):12}{worst.value:20.2g}{worst.tolerance:10.0e}"
            line(f"{name:16}{numbers}  {verdict:4}  {worst.key}")
    present = {p.stem for p in Path(os.environ["GOLDEN"]).glob("*.safetensors")}
    if unseen := sorted(name for name in present if not records.get(name)):
        line(f"not compared: {', '.join(unseen)}")
    line("parity: PASS" if exitstatus == 0 else "parity: FAIL")
