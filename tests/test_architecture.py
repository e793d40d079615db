"""Who may import whom, and how fast --help answers."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("trackline", "components", "pipelines")
FILES = sorted(p for name in PACKAGES for p in (ROOT / name).rglob("*.py"))
HOMES = {
    "mlflow": "trackline/registry/",
    "great_expectations": "trackline/validation.py",
    "evidently": "trackline/drift.py",
}
GROUND = {"boxes", "config", "records", "errors", "artifacts", "commandline", "redaction"}
COMMANDS = [
    "trackline.cli",
    *(f"components.{p.stem}" for p in (ROOT / "components").glob("[a-z]*.py")),
]


def list_imports(path: Path) -> set[str]:
    """Full names of the modules that a file imports anywhere."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_run_one_way(path: Path) -> None:
    package, imports = path.relative_to(ROOT).parts[0], list_imports(path)
    tops = {name.split(".")[0] for name in imports}
    if package == "trackline":
        assert not tops & {"components", "pipelines"}
    if package == "components":
        assert "pipelines" not in tops
    assert "kfp" not in tops or package == "pipelines"
    for library, home in HOMES.items():
        assert library not in tops or name_of(path).startswith(home)
    place = path.relative_to(ROOT).with_suffix("").parts
    if package == "trackline" and place[1] in GROUND:
        domains = {n.split(".")[1] for n in imports if n.startswith("trackline.")}
        assert domains <= GROUND


def test_files_are_read_in_one_sitting() -> None:
    files = [p for name in (*PACKAGES, "benchmarks", "tests") for p in (ROOT / name).rglob("*.py")]
    lengths = {name_of(p): len(p.read_text(encoding="utf-8").splitlines()) for p in files}
    assert {name: length for name, length in lengths.items() if length > 450} == {}


@pytest.mark.parametrize("module", COMMANDS)
def test_help_teaches_and_loads_nothing_heavy(module: str) -> None:
    """Heavy libraries take seconds; a person asking for help should not wait for them."""
    heavy = (
        "torch", "pandas", "scipy", "mlflow", "great_expectations", "evidently", "plotly", "cv2",
        "boto3", "kfp",
    )  # fmt: skip
    code = (
        f"import sys, {module} as m\n"
        "try: m.main(['--help'])\n"
        "except SystemExit: pass\n"
        f"print('loaded', [n for n in {heavy!r} if n in sys.modules])"
    )
    done = subprocess.run(
        (sys.executable, "-c", code), capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "loaded []" in done.stdout
    assert len(done.stdout.splitlines()) > 8
