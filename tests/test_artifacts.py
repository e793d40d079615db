"""Artifacts: a killed write leaves the old state or the new one, and packages betray any change."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trackline import artifacts
from trackline.errors import PackageError


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_bytes(b"abc")
    (folder / "sub").mkdir()
    (folder / "sub" / "note").write_text("hi")
    artifacts.write_sums(folder)
    return folder


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    artifacts.write_json(path, {"a": 1})
    with pytest.raises(ZeroDivisionError), artifacts.replacing(path) as temporary:
        temporary.write_text(str(1 / 0))
    assert artifacts.read_json(path) == {"a": 1}
    assert os.listdir(tmp_path) == ["x.json"]  # noqa: PTH208


def test_a_failed_folder_leaves_the_old_folder(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with artifacts.replacing_folder(folder) as new:
        (new / "a").write_text("1")
    with pytest.raises(ZeroDivisionError), artifacts.replacing_folder(folder) as new:
        (new / "a").write_text(str(1 / 0))
    assert (folder / "a").read_text() == "1"
    assert os.listdir(tmp_path) == ["out"]  # noqa: PTH208


def test_numbers_that_json_does_not_know_become_null(tmp_path: Path) -> None:
    value = {"nan": float("nan"), "inf": [np.float32("inf")], "n": np.int64(3), "t": (1, 2)}
    artifacts.write_json(tmp_path / "x", value)
    assert artifacts.read_json(tmp_path / "x") == {"nan": None, "inf": [None], "n": 3, "t": [1, 2]}


def test_tables_are_written_by_suffix(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": [1, 2]})
    artifacts.write_table(tmp_path / "t.csv", table)
    artifacts.write_table(tmp_path / "t.parquet", table)
    assert (tmp_path / "t.csv").read_text() == "a\n1\n2\n"
    assert pd.read_parquet(tmp_path / "t.parquet").equals(table)


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert artifacts.digest({"a": 1, "b": 2.5}) == artifacts.digest({"b": 2.5, "a": 1})
    assert artifacts.digest({"a": 1}) != artifacts.digest({"a": 2})


def test_an_intact_package_verifies(package: Path) -> None:
    assert artifacts.verify(package) == artifacts.sha256(package / "SHA256SUMS")


@pytest.mark.parametrize("name", ["weights", "sub/note"])
def test_an_altered_file_is_named(package: Path, name: str) -> None:
    data = bytearray((package / name).read_bytes())
    data[0] ^= 1
    (package / name).write_bytes(data)
    with pytest.raises(PackageError, match=name):
        artifacts.verify(package)


def test_a_missing_and_an_added_file_are_named(package: Path) -> None:
    (package / "weights").unlink()
    (package / "extra").write_text("")
    with pytest.raises(PackageError, match="extra, weights"):
        artifacts.verify(package)


def test_a_folder_without_sums_is_no_package(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="no SHA256SUMS"):
        artifacts.verify(tmp_path)
