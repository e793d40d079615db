"""Looking at footage and bringing it in: nothing is lost on the way, nothing half is left behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from trackline.cli import main
from trackline.data import footage
from trackline.data.table import BOX


def clip(root: Path, frames: int = 3) -> Path:
    """A sequence in our own layout."""
    folder = root / "clips/ball"
    (folder / "frames").mkdir(parents=True)
    for k in range(frames):
        image = np.full((48, 64, 3), 20 + k, np.uint8)
        image[10:20, 5 * (k % 9) : 5 * (k % 9) + 9] = 255
        cv2.imwrite(str(folder / f"frames/{k:04d}.png"), image)
    rows = "".join(f"{k},{5 * (k % 9)},10,9,10\n" for k in range(frames))
    (folder / "boxes.csv").write_text(f"frame,x,y,w,h\n{rows}")
    (folder / "class.txt").write_text("ball\n")
    return root / "clips"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository under DVC, as the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    (tmp_path / ".git").mkdir()
    subprocess.run((sys.executable, "-m", "dvc", "init", "-q", "--no-scm"), check=True)
    return tmp_path


def test_inspect_tells_what_is_there_and_draws_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = clip(tmp_path)
    (folder / "ball/frames/0001.png").write_bytes(b"broken")
    assert main(["data", "inspect", str(folder), "--sheet", "sheet.png"]) == 0
    told = capsys.readouterr().out
    assert "simple" in told
    assert "64x48" in told
    assert "ball 1" in told
    assert "error    each image decodes                               1 frame, 33.3%" in told
    assert "ball/1: not a JPEG or PNG image" in told
    sheet = cv2.imread("sheet.png")
    assert sheet is not None
    assert (sheet == (60, 220, 60)).all(axis=-1).any()  # a box is drawn


def test_inspect_of_nothing_names_the_layouts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "inspect", str(tmp_path)]) == 11
    assert "docs/own-data.md" in capsys.readouterr().err


def test_inspect_draws_a_page_that_stands_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = clip(tmp_path)
    (folder / "ball/class.txt").write_text("<script>")
    assert main(["data", "inspect", str(folder), "--sheet", "sheet.html"]) == 0
    page = Path("sheet.html").read_text()
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    assert "http" not in page
    assert page.count("data:image/jpeg;base64,") == 1


def test_inspect_of_holiday_pictures_says_what_lies_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("summer/beach.JPG", "summer/cat.png", "summer/old.bmp", "notes.txt", "more.zip"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert main(["data", "inspect", str(tmp_path)]) == 11
    told = capsys.readouterr().err
    assert "2 images (summer/beach.JPG ...)" in told
    assert "unpack archives" in told
    assert "turn images into JPEG or PNG" in told


@pytest.mark.parametrize("frames", [3, 120], ids=["loose", "packed"])
def test_what_is_added_reads_the_same_and_is_held_by_dvc(project: Path, frames: int) -> None:
    folder = clip(project, frames)
    assert main(["data", "add", str(folder), "--as", "mine"]) == 0
    assert (project / "data/mine.dvc").is_file()
    assert bool(list((project / "data/mine").glob("*.tar"))) == (frames > 100)
    before, after = footage.read_all(folder), footage.read_all(project / "data/mine")
    same = ["sequence", "frame", "split", "width", "height", "class", "line", *BOX]
    same.remove("split")  # drawn by the name of the data set too
    pd.testing.assert_frame_equal(after[same], before[same])


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden"])
def test_a_name_that_leads_elsewhere_is_refused(project: Path, name: str) -> None:
    assert main(["data", "add", str(clip(project)), "--as", name]) == 64
    assert not (project / "data").exists()


def test_data_held_as_a_whole_is_left_alone(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("data.dvc").write_text("outs: []\n")
    assert main(["data", "add", str(clip(project)), "--as", "mine"]) == 64
    assert "dvc remove data.dvc" in capsys.readouterr().err
