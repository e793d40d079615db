"""The trackline command: what a newcomer types first."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from trackline import config
from trackline.cli import main
from trackline.commands.track import parse_box
from trackline.errors import UsageError
from trackline.models import package
from trackline.models.network import Network
from trackline.training.lineage import record_lineage


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, miniature: config.Params) -> Path:
    torch.manual_seed(0)
    lineage = record_lineage(miniature, "abc", 1.0, torch.device("cpu"))
    network = Network(miniature.model, 10)
    folder = tmp_path_factory.mktemp("model") / "model"
    package.save(
        folder, package.Package(network, miniature.data.classes, miniature.track, lineage), "card"
    )
    return folder


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of frames in which a square wanders."""
    folder = tmp_path_factory.mktemp("footage")
    for i in range(6):
        image = np.full((90, 120, 3), 60, np.uint8)
        image[30 : 30 + 24, 20 + 4 * i : 44 + 4 * i] = (30, 200, 90)
        cv2.imwrite(str(folder / f"{i:03d}.png"), image)
    return folder


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory, footage: Path) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (120, 90))
    for image in sorted(footage.glob("*.png")):
        writer.write(cv2.imread(str(image)))
    writer.release()
    return path


@pytest.mark.parametrize("source", ["footage", "film"])
def test_track_writes_boxes_and_a_video(
    source: str, model: Path, tmp_path: Path, request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path: Path = request.getfixturevalue(source)
    command = ["track", str(path), "--box", "20,30,24,24", "--model", str(model)]
    assert main([*command, "--out", str(tmp_path)]) == 0
    rows = pd.read_csv(tmp_path / "boxes.csv")
    assert rows["frame"].tolist() == list(range(6))
    assert rows[["x", "y", "w", "h"]].to_numpy()[0].tolist() == [20, 30, 24, 24]
    assert rows["class"].isna().tolist() == [True, *[False] * 5]
    listed = json.loads((tmp_path / "boxes.json").read_text())
    assert pd.DataFrame(listed)[["x", "y"]].equals(rows[["x", "y"]])
    assert listed[0] == dict(zip(rows.columns, [0, 20, 30, 24, 24, 1, None], strict=True))
    capture = cv2.VideoCapture(str(tmp_path / "tracked.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 6
    assert "6 frames, taken for a" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "box", "code", "message"),
    [
        ("footage", "500,30,24,24", 14, "lies outside the image of 120x90"),
        ("footage", "20,30,24", 64, "give four numbers"),
        ("/nowhere.mp4", "20,30,24,24", 10, "does not exist"),
        ("/dev/null", "20,30,24,24", 10, "does not exist"),
    ],
)
def test_track_refuses_what_it_cannot_follow(
    source: str, box: str, code: int, message: str, model: Path, footage: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = str(footage) if source == "footage" else source
    out = tmp_path / "out"
    assert main(["track", path, f"--box={box}", "--model", str(model), "--out", str(out)]) == code
    assert message in capsys.readouterr().err
    assert not list(out.glob("*")) if out.exists() else True


def test_track_refuses_frames_of_several_sizes(
    model: Path, footage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(footage, tmp_path / "mixed")
    cv2.imwrite(str(tmp_path / "mixed/003.png"), np.zeros((45, 60, 3), np.uint8))
    line = ["track", str(tmp_path / "mixed"), "--box=20,30,24,24", "--model", str(model)]
    assert main([*line, "--out", str(tmp_path / "out")]) == 10
    assert "frame 4 has 60x45 pixels, the first has 120x90" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*"))


def test_track_tells_of_a_video_that_is_cut_off(
    model: Path, footage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "film.avi"  # its index of frames comes last: what is lost is still stated
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (120, 90))
    for image in sorted(footage.glob("*.png")):
        writer.write(cv2.imread(str(image)))
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    line = ["track", str(path), "--box=20,30,24,24", "--model", str(model)]
    assert main([*line, "--out", str(tmp_path / "out")]) == 0
    left = len(pd.read_csv(tmp_path / "out/boxes.csv"))
    assert 0 < left < 6
    assert f"states 6 frames, {left} could be decoded" in capsys.readouterr().err


def test_an_annotated_sequence_starts_from_its_own_box(
    model: Path, footage: Path, tmp_path: Path
) -> None:
    """A folder of OTB's layout: frames in img/, boxes from pixel 1."""
    shutil.copytree(footage, tmp_path / "set/Square/img")
    boxes = "".join(f"{21 + 4 * i},31,24,24\n" for i in range(6))
    (tmp_path / "set/Square/groundtruth_rect.txt").write_text(boxes)
    for place in ("set/Square", "set"):
        out = tmp_path / "out" / place
        assert main(["track", str(tmp_path / place), "--model", str(model), "--out", str(out)]) == 0
        rows = pd.read_csv(out / "boxes.csv")
        assert rows[["x", "y", "w", "h"]].to_numpy()[0].tolist() == [20, 30, 24, 24]
        assert len(rows) == 6


def test_an_annotated_video_starts_from_its_own_box(
    model: Path, film: Path, tmp_path: Path
) -> None:
    """TLD's layout: corners beside the video."""
    shutil.copy(film, tmp_path / "film.mp4")
    rows = "".join(f"{20 + 4 * i},30,{44 + 4 * i},54\n" for i in range(6))
    (tmp_path / "gt.txt").write_text(rows)
    out = tmp_path / "out"
    line = ["track", str(tmp_path / "film.mp4"), "--model", str(model), "--out", str(out)]
    assert main(line) == 0
    boxes = pd.read_csv(out / "boxes.csv")[["x", "y", "w", "h"]].to_numpy()
    assert boxes[0].tolist() == [20, 30, 24, 24]


def test_one_of_several_sequences_is_asked_for(
    model: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["track", str(world), "--model", str(model), "--out", str(tmp_path)]
    assert main(line) == 64
    assert "name one with --sequence: synth_test_000000, " in capsys.readouterr().err
    assert main([*line, "--sequence", "synth_test_000003"]) == 0
    assert len(pd.read_csv(tmp_path / "boxes.csv")) == 8


def test_without_a_box_or_a_display_it_says_so(
    model: Path, footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    pytest.importorskip("tkinter", reason="this Python has no tkinter")
    monkeypatch.setenv("DISPLAY", "")
    line = ["track", str(footage), "--model", str(model), "--out", str(tmp_path / "out")]
    assert main(line) == 64
    assert "there is no display to show it on; give its box" in capsys.readouterr().err


def test_an_empty_folder_has_no_frames(tmp_path: Path, model: Path) -> None:
    command = ["track", str(tmp_path), "--box", "1,1,5,5", "--model", str(model)]
    assert main([*command, "--out", str(tmp_path / "out")]) == 11


def test_model_counts_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].endswith("parameters")
    parts = [int(line.split()[1].replace(",", "")) for line in lines]
    assert sum(parts[:-1]) == parts[-1]


def test_params_prints_defaults_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["params"]) == 0
    assert "reference_compat: false" in capsys.readouterr().out


def test_synth_refuses_a_folder_that_is_not_empty(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").write_text("precious")
    assert main(["data", "synth", str(tmp_path)]) == 64
    assert "is not empty" in capsys.readouterr().err
    assert (tmp_path / "mine").read_text() == "precious"


def test_status_before_a_run_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["status"]) == 64
    assert "run the pipeline first" in capsys.readouterr().err


def test_a_wrong_command_line_has_its_own_exit_code() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["trak"])
    assert caught.value.code == 64


@pytest.mark.parametrize("text", ["1,2,3", "a,b,c,d", "", "1,2,3,4,5"])
def test_boxes_are_four_numbers(text: str) -> None:
    with pytest.raises(UsageError):
        parse_box(text)
