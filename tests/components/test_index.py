"""The index step: footage in, one table out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from components.index import index, main
from trackline.data.frames import Frames
from trackline.data.table import COLUMNS, iterate, read
from trackline.errors import DataError


@pytest.fixture(scope="module")
def indexed(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("index") / "artifacts/annotations.parquet"
    index(world, path)
    return path


def test_the_table_holds_every_frame_in_order(world: Path, indexed: Path) -> None:
    table = read(indexed)
    assert list(table.columns) == list(COLUMNS)
    assert table.groupby("split").size().to_dict() == {"test": 80, "train": 120, "val": 60}
    order = table.sort_values(["split", "sequence", "frame"], kind="stable", ignore_index=True)
    pd.testing.assert_frame_equal(table, order)


def test_what_is_indexed_can_be_read(world: Path, indexed: Path) -> None:
    sequence = next(iterate(read(indexed), "val"))
    image = Frames(world)(sequence, 3)
    assert image.shape[1::-1] == tuple(sequence.sizes_wh[3])


def test_the_same_data_give_the_same_bytes(world: Path, indexed: Path, tmp_path: Path) -> None:
    index(world, tmp_path / "again.parquet")
    assert (tmp_path / "again.parquet").read_bytes() == indexed.read_bytes()


def test_counts_are_given_back(world: Path, tmp_path: Path) -> None:
    found = index(world, tmp_path / "a.parquet")
    assert found.sequences == {"train": 20, "val": 10, "test": 10}
    assert found.frames == {"train": 120, "val": 60, "test": 80}


@pytest.fixture
def project(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder laid out as the contract says; the step runs in it without options."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("data: {path: footage}")
    shutil.copytree(world, tmp_path / "footage")
    return tmp_path


def test_without_options_the_paths_are_the_contract(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([]) == 0
    assert (project / "artifacts/annotations.parquet").is_file()
    assert "20 sequences" in capsys.readouterr().out


def test_a_lost_shard_is_told(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    next((project / "footage/train").glob("*.tar")).unlink()
    (project / "footage/train/a").mkdir()
    (project / "footage/train/a/groundtruth.txt").touch()
    assert main([]) == 0
    assert "list.txt names" in capsys.readouterr().err


def test_an_empty_folder_ends_with_its_own_code_and_leaves_the_old_table(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = project / "artifacts/annotations.parquet"
    table.parent.mkdir()
    table.write_bytes(b"yesterday's")
    (project / "bare").mkdir()
    for folder, said in (("nowhere", "nowhere does not exist"), ("bare", "bare")):
        assert main(["--data", folder]) == 11
        assert said in capsys.readouterr().err
    assert table.read_bytes() == b"yesterday's"


def test_a_table_that_is_not_there_or_not_whole_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist; run the index step"):
        read(tmp_path / "none.parquet")
    (tmp_path / "half.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(DataError, match="not readable; run the index step"):
        read(tmp_path / "half.parquet")
