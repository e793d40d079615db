"""The drift step: a profile for the model, a verdict that never stops anything."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from components.drift import main
from components.index import index
from trackline import artifacts
from trackline.artifacts import write_json
from trackline.data.frames import Frames
from trackline.data.table import iterate, read

TABLE = Path("artifacts/annotations.parquet")
PROFILE = Path("artifacts/profile.json")
METRICS = Path("metrics/drift.json")
PAGE = Path("reports/drift.html")


@pytest.fixture
def project(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An indexed project; the step runs in it without options."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(f"data: {{path: {world}}}\ndrift: {{min_sequences: 15}}")
    write_json(Path("champion.json"), {"name": "tracker", "version": None, "sha256": None})
    index(world, TABLE)
    return tmp_path


def enlarge_and_darken(world: Path) -> None:
    """Rewrite the training split: boxes 1.6 times larger, images of half the light, as loose files."""
    table = read(TABLE)
    table[["w", "h"]] *= 1.6
    frames = Frames(world)
    for sequence in iterate(table, "train"):
        for k, name in enumerate(sequence.images):
            file = Path("dark", name.replace(".tar/", "/"))
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), frames(sequence, k)[..., ::-1] // 2)
    table["image"] = table["image"].str.replace(".tar/", "/")
    artifacts.write_table(TABLE, table.assign(offset=-1))


def test_without_a_reference_the_data_are_profiled(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([]) == 0
    verdict = artifacts.read_json(METRICS)
    assert (verdict["verdict"], verdict["sequences"], verdict["features"]) == (
        "no reference",
        20,
        [],
    )
    assert len(artifacts.read_json(PROFILE)["features"]["log_area"]) == 20
    assert "no reference profile yet" in PAGE.read_text()
    assert "drift: no reference" in capsys.readouterr().out


def test_the_champions_profile_is_the_reference(
    project: Path, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["--profile", "champion/model/profile.json"])
    monkeypatch.setattr("trackline.champion.fetch_champion", lambda *_: Path("champion"))
    assert main([]) == 0
    assert artifacts.read_json(METRICS)["verdict"] == "none"

    enlarge_and_darken(world)
    assert main(["--data", "dark"]) == 0
    verdict = artifacts.read_json(METRICS)
    moved = {feature["name"] for feature in verdict["features"] if feature["moved"]}
    assert verdict["verdict"] == "drift"
    assert {"log_area", "brightness"} <= moved
    assert "moved" in PAGE.read_text()


def test_the_same_data_give_the_same_bytes(project: Path) -> None:
    outputs = (PROFILE, METRICS, PAGE)
    main([])
    first = [path.read_bytes() for path in outputs]
    main([])
    assert [path.read_bytes() for path in outputs] == first


def test_a_reference_that_is_not_there_is_an_error(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--reference", "nowhere.json"]) == 10
    assert "nowhere.json is not a profile" in capsys.readouterr().err
    assert not METRICS.exists()
