"""The drift step: a profile for the model, a verdict that never stops anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch

from components.drift import main
from components.index import index
from trackline import artifacts, config
from trackline.artifacts import write_json
from trackline.data.frames import Frames, Image
from trackline.data.profile import read as read_profile
from trackline.data.table import Sequence, iterate, read
from trackline.models.embedding import embed
from trackline.models.network import Network
from trackline.models.package import PROFILE, Package, save

TABLE = Path("artifacts/annotations.parquet")
CURRENT = Path("artifacts/profile.json")
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


def repaint(world: Path, folder: str, paint: Callable[[Image, Sequence, int], Image]) -> None:
    """Rewrite the images of the training split as loose files below `folder`."""
    table = read(TABLE)
    frames = Frames(world)
    for sequence in iterate(table, "train"):
        for k, name in enumerate(sequence.images):
            file = Path(folder, name.replace(".tar/", "/"))
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), paint(frames(sequence, k)[..., ::-1].copy(), sequence, k))
    table["image"] = table["image"].str.replace(".tar/", "/")
    artifacts.write_table(TABLE, table.assign(offset=-1))


def redden(image: Image, sequence: Sequence, frame: int) -> Image:
    """Paint the target red all over: another kind of object."""
    x, y, w, h = sequence.boxes_xywh[frame].round().astype(int).clip(0).tolist()
    image[y : y + h, x : x + w] = (0, 0, 255)
    return image


def pack_champion(world: Path, miniature: config.Params) -> Path:
    """A package as training writes it, of a network that learned nothing, in champion/model."""
    main(["--profile", "data.json"])
    torch.manual_seed(0)
    network, profile = Network(miniature.model, 10), read_profile(Path("data.json"))
    seen = replace(profile, embedding=embed(network, read(TABLE), world, "train"))
    model = Package(network, miniature.data.classes, miniature.track, {})
    save(Path("champion/model"), model, "", {PROFILE: seen.spell().encode()})
    return Path("champion/model/profile.json")


def judge() -> dict[str, dict[str, Any]]:
    """What the step wrote of each feature."""
    return {feature["name"]: feature for feature in artifacts.read_json(METRICS)["features"]}


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
    assert len(artifacts.read_json(CURRENT)["features"]["log_area"]) == 20
    assert "no reference profile yet" in PAGE.read_text()
    assert "drift: no reference" in capsys.readouterr().out


def test_the_champions_profile_is_the_reference(
    project: Path, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["--profile", "champion/model/profile.json"])
    monkeypatch.setattr("trackline.champion.fetch_champion", lambda *_: Path("champion"))
    assert main([]) == 0
    assert artifacts.read_json(METRICS)["verdict"] == "none"

    table = read(TABLE)
    table[["w", "h"]] *= 1.6
    artifacts.write_table(TABLE, table)
    repaint(world, "dark", lambda image, *_: image // 2)
    assert main(["--data", "dark"]) == 0
    verdict = artifacts.read_json(METRICS)
    moved = {feature["name"] for feature in verdict["features"] if feature["moved"]}
    assert verdict["verdict"] == "drift"
    assert {"log_area", "brightness"} <= moved
    assert "moved" in PAGE.read_text()


def test_the_champions_own_network_sees_todays_targets(
    project: Path, world: Path, miniature: config.Params
) -> None:
    reference = str(pack_champion(world, miniature))
    assert main(["--reference", reference]) == 0
    assert judge()["embedding"]["score"] < 0.001  # digits that the profile leaves out
    assert artifacts.read_json(METRICS)["crops"] == 20
    assert artifacts.read_json(CURRENT)["embedding"] == []  # the next model's own will see them
    assert "saw a crop each of 20 of" in " ".join(PAGE.read_text().split())

    repaint(world, "others", redden)
    assert main(["--reference", reference, "--data", "others"]) == 0
    assert judge()["embedding"]["moved"]
    assert not judge()["log_area"]["moved"]


def test_a_champion_that_cannot_be_loaded_costs_the_embedding_alone(
    project: Path, world: Path, miniature: config.Params, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = pack_champion(world, miniature)
    reference.with_name("model.safetensors").write_bytes(b"")
    assert main(["--reference", str(reference)]) == 0
    assert "the embedding is not compared" in capsys.readouterr().err
    assert (judge()["embedding"]["score"], judge()["motion"]["score"]) == (None, 0)


def test_the_same_data_give_the_same_bytes(project: Path) -> None:
    outputs = (CURRENT, METRICS, PAGE)
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
