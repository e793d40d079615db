"""Conversion: a checkpoint of another tracker becomes a package that tracks and trains on."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

import trackline
from trackline import cli, config
from trackline.models import package, weights
from trackline.models.conversion import PUBLISHED, convert
from trackline.models.network import Network
from trackline.tracking.tracker import Tracker

TRACKER = config.Model(
    variant="tracking",
    template=config.Crop(32, 2.0),
    search=config.Crop(64, 4.0),
    backbone=config.Backbone(patch=16, width=64, depth=4, heads=1),
    elimination=config.Elimination((1, 2, 3), (0.7, 0.7, 0.7)),
    history=config.History(key_width=8, stem_width=4),
    head_width=16,
    reference_compat=PUBLISHED,
)
# this project's names in the reference's words, the other way round than the code has them
WORDS = (
    (r"^backbone\.temporal_", "backbone.temporal_pos_embed_"),
    (r"^box_head\.score\.(\d)", lambda m: f"box_head.conv{int(m[1]) + 1}_ctr"),
    (r"^box_head\.(offset|size)\.(\d)", lambda m: f"box_head.conv{int(m[2]) + 1}_{m[1]}"),
    (r"^history\.encoder\.(block\d|attention)", r"HIP.encoder.fuser.\1"),
    (r"^history\.encoder\.layers\.(\d)", lambda m: f"HIP.encoder.layer{int(m[1]) + 1}"),
    (r"^history\.encoder", "HIP.encoder"),
    (r"\.shortcut\.", ".downsample."),
    (r"\.channel\.(\d)", lambda m: f".ChannelGate.mlp.{int(m[1]) + 1}"),
    (r"attention\.spatial", "attention.SpatialGate.spatial.conv"),
    (r"^history\.to_key", "key_proj.key_proj"),
    (r"^history\.to_thin", "key_comp"),
    (r"^history\.fuse", "searchRegionFusion"),
)


def make_reference(network: Network) -> dict[str, Tensor]:
    """The state dict as the reference's trainer would have written it, its leftovers included."""
    state = {}
    for name, tensor in network.state_dict().items():
        for pattern, words in WORDS:
            name = re.sub(pattern, words, name)  # noqa: PLW2901
        state[name] = tensor
    return {**state, "backbone.cls_token": torch.zeros(1, 1, 64)}


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    return Network(TRACKER, 0).eval()


@pytest.fixture(scope="module")
def checkpoint(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reference") / "HIPTrack_ep0100.pth.tar"
    torch.save({"epoch": 100, "net": make_reference(network)}, path)
    return path


def follow(network: Network, track: config.Track) -> list[Any]:
    images = np.random.default_rng(0).integers(0, 256, (4, 60, 80, 3)).astype(np.uint8)
    tracker = Tracker(network, track)
    tracker.start(0, images[0], np.array([30.0, 20, 16, 12]))
    return [tracker.step([0], [image])[0].box_xywh.tolist() for image in images[1:]]


def test_a_tracker_s_checkpoint_becomes_a_package_with_the_same_boxes(
    network: Network, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "converted"
    assert cli.main(["weights", "convert", str(checkpoint), str(out)]) == 0
    said = capsys.readouterr().out
    assert "template 32, search 64, ViT of patch 16, width 64, depth 4, 1 heads" in said
    assert re.search(r"mapped +\d+ tensors: .*history.to_key", said)
    assert re.search(r"left +1 tensors: backbone.cls_token", said)
    assert re.search(r"initialised +nothing", said)
    model = trackline.load(out)
    assert model.network.config == TRACKER
    assert model.classes == ()
    assert model.track == config.Track(window=1.0, clip_margin_px=10)
    assert follow(model.network, model.track) == follow(network, model.track)


def test_training_goes_on_from_a_package_with_a_class_head_of_its_own(
    checkpoint: Path, tmp_path: Path
) -> None:
    made, _ = convert(str(checkpoint), tmp_path / "converted")
    network = Network(dataclasses.replace(TRACKER, variant="multitask"), 10)
    report = weights.initialise(network, str(tmp_path / "converted"))
    assert report is not None
    assert {name.split(".")[0] for name in report.initialised} == {"class_head"}
    theirs = made.network.state_dict()
    assert all(torch.equal(theirs[name], network.state_dict()[name]) for name in report.mapped)


def test_other_sizes_are_taken_from_params(checkpoint: Path, tmp_path: Path) -> None:
    larger = dataclasses.replace(TRACKER, search=config.Crop(96, 4.0), variant="multitask")
    params = config.Params(data=config.Data(classes=("car", "cup")), model=larger)
    made, report = convert(str(checkpoint), tmp_path / "larger", params)
    assert made.network.backbone.pos_embed_x.shape == (1, 36, 64)
    assert made.classes == ("car", "cup")
    assert "backbone.pos_embed_x" in report.mapped


def test_a_package_keeps_what_its_description_says(checkpoint: Path, tmp_path: Path) -> None:
    first, _ = convert(str(checkpoint), tmp_path / "first")
    again, report = convert(str(tmp_path / "first"), tmp_path / "second")
    assert again.network.config == first.network.config
    assert not report.left
    assert (tmp_path / "second" / package.WEIGHTS).read_bytes() == (
        tmp_path / "first" / package.WEIGHTS
    ).read_bytes()


def test_a_bare_vit_gets_the_rest_of_a_tracker_afresh(network: Network, tmp_path: Path) -> None:
    """As MAE and timm store it: one grid of positions, a class token."""
    blocks = {k: v for k, v in network.backbone.state_dict().items() if "pos" not in k}
    vit = {k: v for k, v in blocks.items() if "temporal" not in k}
    vit["pos_embed"] = torch.randn(1, 197, 64)
    torch.save({"model": vit}, tmp_path / "mae.pth")
    made, report = convert(str(tmp_path / "mae.pth"), tmp_path / "vit")
    assert made.network.config.template.size == 192
    assert made.network.config.search.size == 384
    assert not made.network.config.reference_compat
    assert {name.split(".")[0] for name in report.initialised} == {"history", "box_head"}
    assert not report.silent


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ({"conv1.weight": torch.zeros(64, 3, 7, 7)}, "holds no patch embedding of a ViT"),
        ({"patch_embed.proj.weight": torch.zeros(64, 3, 16, 16)}, "0 blocks of width 64"),
        (
            {
                "patch_embed.proj.weight": torch.zeros(96, 3, 16, 16),
                "blocks.0.norm1.bias": torch.zeros(96),
            },
            "1 blocks of width 96; its number of heads cannot be read off",
        ),
        (
            {
                "patch_embed.proj.weight": torch.zeros(64, 3, 16, 16),
                "patch_embed.proj.bias": torch.zeros(64),
                "blocks.0.norm1.bias": torch.zeros(64),
            },
            "lacks backbone.blocks.0.attn.proj.bias",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], state: dict[str, Tensor], why: str
) -> None:
    safetensors.torch.save_file(state, tmp_path / "other.safetensors")
    out = tmp_path / "out"
    assert cli.main(["weights", "convert", str(tmp_path / "other.safetensors"), str(out)]) == 21
    said = capsys.readouterr().err
    assert why in said
    assert len(said.splitlines()) == 1
    assert not out.exists()


def test_an_existing_folder_is_replaced_only_on_request(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kept").mkdir()
    given = ["weights", "convert", str(checkpoint), str(tmp_path / "kept")]
    assert cli.main(given) == 64
    assert "--force" in capsys.readouterr().err
    assert not any((tmp_path / "kept").iterdir())
    assert cli.main([*given, "--force"]) == 0
    assert trackline.load(tmp_path / "kept").classes == ()
