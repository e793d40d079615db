"""Weights made elsewhere: names, grids, and files that must be refused."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from trackline.config import Backbone, Crop, Elimination, Model
from trackline.data.clips import normalise
from trackline.errors import PackageError
from trackline.models import checkpoints, weights
from trackline.models.heads import decode
from trackline.models.network import Network, to_grid

SMALL = Model(
    variant="tracking",
    template=Crop(32, 2.0),
    search=Crop(64, 4.0),
    backbone=Backbone(patch=16, width=8, depth=2, heads=1),
    elimination=Elimination((), ()),
    head_width=32,
)


def make_network(temporal: bool = True, **backbone: Any) -> Network:
    vit = dataclasses.replace(SMALL.backbone, temporal=temporal, **backbone)
    return Network(dataclasses.replace(SMALL, backbone=vit), 0).eval()


def make_vit(depth: int = 2, width: int = 8) -> dict[str, Tensor]:
    """The state dict of a plain ViT at 224 pixels, as MAE and timm store it."""
    state = make_network(depth=depth, width=width).backbone.state_dict()
    own = {k: torch.randn_like(v) for k, v in state.items() if not k.startswith(("pos_", "temp"))}
    return {**own, "pos_embed": torch.randn(1, 197, width), "cls_token": torch.randn(1, 1, width)}


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Or three networks in a hundred have a box head so thin that every unit of its last layer is shut."""
    torch.manual_seed(0)


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    torch.save({"model": make_vit()}, tmp_path / "mae.pth")
    return tmp_path / "mae.pth"


def test_a_vit_starts_the_backbone_and_nothing_else(vit: Path) -> None:
    network = make_network()
    head = network.get_parameter("box_head.score.0.0.weight").clone()
    report = weights.initialise(network, str(vit))
    assert report is not None
    assert report.left == ("backbone.cls_token",)
    assert torch.equal(network.get_parameter("box_head.score.0.0.weight"), head)
    state = torch.load(vit)["model"]
    assert torch.equal(network.backbone.norm.weight, state["norm.weight"])
    assert "box_head.score" in str(report)


def test_one_grid_of_positions_serves_both_images(vit: Path) -> None:
    network = make_network()
    weights.initialise(network, str(vit))
    assert network.backbone.pos_embed_z.shape == (1, 4, 8)
    assert network.backbone.pos_embed_x.shape == (1, 16, 8)


def test_a_grid_of_the_right_size_stays_as_it_is() -> None:
    positions = torch.randn(1, 197, 8)
    assert torch.equal(weights.resize_positions(positions, 14), positions[:, 1:])


def test_no_pretrained_weights_is_no_report() -> None:
    assert weights.initialise(make_network(), None) is None


def test_temporal_vectors_move_into_the_positions_of_a_network_without_any(tmp_path: Path) -> None:
    theirs, mine = make_network(), make_network(temporal=False)
    torch.nn.init.normal_(theirs.backbone.temporal_z)
    torch.nn.init.normal_(theirs.backbone.temporal_x)
    safetensors.torch.save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    report = weights.initialise(mine, str(tmp_path / "theirs.safetensors"))
    assert report is not None
    assert not report.left
    assert not report.initialised
    images = torch.randn(1, 3, 32, 32), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(mine.backbone(*images), theirs.backbone(*images))


def test_temporal_vectors_are_zero_where_a_tracker_has_none(tmp_path: Path) -> None:
    network = make_network()
    torch.nn.init.normal_(network.backbone.temporal_z)
    state = make_network(temporal=False).state_dict()
    safetensors.torch.save_file(state, tmp_path / "ostrack.safetensors")
    weights.initialise(network, str(tmp_path / "ostrack.safetensors"))
    assert not network.backbone.temporal_z.any()


def test_another_normalisation_of_images_is_folded_into_the_patch_embedding() -> None:
    state, image = make_vit(), torch.rand(1, 3, 32, 32)
    folded = checkpoints.fold_normalisation(state, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

    def embed(x: Tensor, given: dict[str, Tensor]) -> Tensor:
        kernel, bias = (given[f"patch_embed.proj.{part}"] for part in ("weight", "bias"))
        return torch.nn.functional.conv2d(x, kernel, bias, stride=16)

    theirs, mine = embed((image - 0.5) / 0.5, state), embed(normalise(image), folded)
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


class Trap:
    """Calls a function when it is unpickled the ordinary way."""

    def __init__(self, function: Callable[..., Any], *arguments: str) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def test_classes_and_functions_in_a_checkpoint_are_not_called(tmp_path: Path) -> None:
    path, sprung = tmp_path / "tracker.pth", tmp_path / "sprung"
    torch.save({"net": make_vit(), "settings": Trap(shutil.copyfile, __file__, str(sprung))}, path)
    assert "norm.weight" in checkpoints.read_checkpoint(path)
    assert not sprung.exists()


def test_a_checkpoint_that_would_run_a_command_is_refused(tmp_path: Path) -> None:
    path, sprung = tmp_path / "tracker.pth", tmp_path / "sprung"
    torch.save({"net": make_vit(), "settings": Trap(os.system, f"touch {sprung}")}, path)
    with pytest.raises(PackageError, match="holds code, which is never run"):
        checkpoints.read_checkpoint(path)
    assert not sprung.exists()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"net": make_vit(depth=3)}, "blocks.2.*model.backbone.depth"),
        ({"net": make_vit(width=16)}, r"is \[.*\] in .* but \[.*\] in this network"),
        ({"net": make_vit(depth=1)}, "lacks backbone.blocks.1.*other tensors of backbone.blocks"),
        ({"net": {"a": torch.zeros(1)}}, "shares no tensor"),
        ({"epoch": 3}, "holds no named tensors"),
    ],
)
def test_what_does_not_fit_is_refused_and_the_network_unchanged(
    tmp_path: Path, content: dict[str, Any], why: str
) -> None:
    torch.save(content, tmp_path / "other.pth")
    network = make_network()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with pytest.raises(PackageError, match=why):
        weights.initialise(network, str(tmp_path / "other.pth"))
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_a_history_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    state = make_network().state_dict()
    del state["history.to_thin.weight"]
    safetensors.torch.save_file(state, tmp_path / "cut.safetensors")
    with pytest.raises(PackageError, match=r"lacks history.to_thin.weight.*fetch the whole file"):
        weights.initialise(make_network(), str(tmp_path / "cut.safetensors"))


def test_other_classes_start_with_logits_of_their_own(tmp_path: Path) -> None:
    ten, three = (Network(dataclasses.replace(SMALL, variant="multitask"), n) for n in (10, 3))
    safetensors.torch.save_file(ten.state_dict(), tmp_path / "ten.safetensors")
    report = weights.initialise(three, str(tmp_path / "ten.safetensors"))
    assert report is not None
    assert report.initialised == ("class_head.logits.bias", "class_head.logits.weight")


def test_a_tracker_without_history_gives_its_own_boxes_and_can_be_trained_on(
    tmp_path: Path,
) -> None:
    """The history starts at zero: features reach the box head as they are, gradients its branch."""
    theirs = make_network()
    state = {k: v for k, v in theirs.state_dict().items() if not k.startswith("history.")}
    safetensors.torch.save_file(state, tmp_path / "ostrack.safetensors")
    network = make_network()
    report = weights.initialise(network, str(tmp_path / "ostrack.safetensors"))
    assert report is not None
    assert report.silent
    assert "boxes are the file's own" in str(report)
    template, searches = torch.randn(1, 3, 32, 32), torch.randn(1, 3, 3, 64, 64)
    said = network(template, torch.tensor([[0.25, 0.25, 0.5, 0.5]]), searches)
    for i, prediction in enumerate(said):
        features = theirs.backbone(template, searches[:, i])
        boxes, _ = decode(theirs.box_head(to_grid(features.search_bxc)))
        torch.testing.assert_close(prediction.boxes_cxcywh, boxes)
    torch.stack([part.sum() for part in said[2].found]).sum().backward()
    for name in ("encoder.block1.shortcut", "encoder.block2.conv2", "to_thin", "fuse.conv2"):
        gradient = network.history.get_parameter(f"{name}.weight").grad
        assert gradient is not None
        assert gradient.any()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    for name in ("torn.pth", "torn.safetensors"):
        (tmp_path / name).write_bytes(b"no weights")
        with pytest.raises(PackageError, match="cannot be read as a checkpoint"):
            checkpoints.read_checkpoint(tmp_path / name)


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(PackageError, match="does not exist"):
        weights.initialise(make_network(), "weights/none.pth")


def test_an_unknown_timm_model_is_refused() -> None:
    with pytest.raises(PackageError, match="timm gives no weights of that name"):
        weights.initialise(make_network(), "vit_of_nobody")
