"""Which commit a version is made again from, and what is said of the outcome."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from trackline import artifacts
from trackline.errors import DataError
from trackline.reproduction import compare, describe, find_revision, hash_folder


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    (folder / "extra").mkdir(parents=True)
    (folder / "model.safetensors").write_text("weights")
    (folder / "extra/a.txt").write_text("a")
    lineage = {"versions": {"torch": "2"}, "hardware": "2 CPU cores"}
    artifacts.write_json(folder / "lineage.json", lineage)
    artifacts.write_sums(folder)
    return folder


def git(root: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"}
    command = ("git", *identity, *arguments)
    return subprocess.check_output(command, cwd=root, env=environment, text=True).strip()


@pytest.fixture
def clone(tmp_path: Path, package: Path) -> Path:
    """A history in which the package was trained before its results were committed."""
    root = tmp_path / "clone"
    root.mkdir()
    git(root, "init", "-q")
    git(root, "commit", "-q", "--allow-empty", "-m", "code")
    for text in (f"- md5: {hash_folder(package)}\n", f"- md5: {hash_folder(package)}\n  more\n"):
        (root / "dvc.lock").write_text(text)
        git(root, "add", "dvc.lock")
        git(root, "commit", "-q", "-m", "results")
    return root


def test_it_is_the_first_commit_whose_lock_names_the_package(clone: Path, package: Path) -> None:
    trained = {"revision": git(clone, "rev-parse", "HEAD~2"), "changed": True}
    assert find_revision(clone, package, trained) == git(clone, "rev-parse", "HEAD~1")


def test_without_one_it_is_the_commit_that_was_trained_on(clone: Path, package: Path) -> None:
    (package / "model.safetensors").write_text("others")
    assert find_revision(clone, package, {"revision": "abc", "changed": False}) == "abc"


@pytest.mark.parametrize("git", [{"revision": "abc", "changed": True}, {"revision": None}])
def test_what_no_commit_holds_cannot_be_made_again(
    clone: Path, package: Path, git: dict[str, object]
) -> None:
    (package / "model.safetensors").write_text("others")
    with pytest.raises(DataError, match="no commit of this clone has"):
        find_revision(clone, package, {"changed": None, **git})


def test_a_signature_does_not_change_what_dvc_calls_the_folder(package: Path) -> None:
    before = hash_folder(package)
    (package / artifacts.SIGNATURE).write_text("signed later")
    assert hash_folder(package) == before


def test_a_difference_is_named_with_its_likely_cause(package: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    (made / "model.safetensors").write_text("weightz")
    lineage = {"versions": {"torch": "3"}, "hardware": "2 CPU cores"}
    artifacts.write_json(made / "lineage.json", lineage)
    artifacts.write_sums(made)
    result = {"version": 4, "revision": "abcdef", **compare(package, made)}
    assert result["identical"] is False
    assert result["environment"] == {"torch": ("2", "3")}
    text = describe(result)
    assert "model.safetensors   DIFFERS" in text
    assert "2 then, 3 now" in text
