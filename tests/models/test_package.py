"""Model packages: what is saved comes back, and nothing else is believed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import trackline
from trackline import artifacts, config
from trackline.errors import PackageError
from trackline.models import package
from trackline.models.card import write_card
from trackline.models.network import Network
from trackline.training.lineage import record_lineage


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, miniature: config.Params) -> Path:
    torch.manual_seed(0)
    network = Network(miniature.model, 10).eval()
    lineage = record_lineage(miniature, "abc", 12.0, torch.device("cpu"))
    model = package.Package(network, miniature.data.classes, miniature.track, lineage)
    row = {"epoch": 1.0, "Loss/total": 1.0, "IoU": 0.5, "Accuracy": 0.5}
    folder = tmp_path_factory.mktemp("package") / "model"
    package.save(folder, model, write_card(model, [row]))
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in saved.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def test_a_package_holds_the_contract_s_files(saved: Path) -> None:
    assert {p.name for p in saved.iterdir()} == {
        "model.safetensors", "model.yaml", "lineage.json", "MODEL_CARD.md", "SHA256SUMS",
    }  # fmt: skip


def test_a_package_comes_back_as_it_was(saved: Path, miniature: config.Params) -> None:
    model = trackline.load(saved)
    assert model.classes == miniature.data.classes
    assert model.network.config == miniature.model
    assert model.track == miniature.track
    torch.manual_seed(0)
    for a, b in zip(
        Network(miniature.model, 10).state_dict().values(),
        model.network.state_dict().values(),
        strict=True,
    ):
        assert torch.equal(a, b)


def test_lineage_says_where_the_weights_come_from(saved: Path) -> None:
    lineage = trackline.load(saved).lineage
    assert lineage["params"]["train"]["seed"] == lineage["seed"]
    assert "torch" in lineage["versions"]
    assert lineage["data"]["annotations_sha256"] == "abc"


@pytest.mark.parametrize("name", ["model.safetensors", "model.yaml", "MODEL_CARD.md"])
def test_a_changed_byte_is_refused_with_the_file_s_name(copy: Path, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(PackageError, match=name):
        trackline.load(copy)


def test_weights_of_another_shape_are_refused(copy: Path) -> None:
    text = (copy / "model.yaml").read_text()
    (copy / "model.yaml").write_text(text.replace("head_width: 16", "head_width: 32"))
    artifacts.write_sums(copy)
    with pytest.raises(PackageError, match=r"does not fit model\.yaml"):
        trackline.load(copy)


def test_a_newer_format_is_refused(copy: Path) -> None:
    text = (copy / "model.yaml").read_text()
    (copy / "model.yaml").write_text(text.replace("format: 1", "format: 99"))
    artifacts.write_sums(copy)
    with pytest.raises(PackageError, match="format 99"):
        trackline.load(copy)


def test_a_folder_that_is_no_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="no SHA256SUMS"):
        trackline.load(tmp_path)
