"""Weights made elsewhere: names, grids, and files that must be refused."""

from __future__ import annotations

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
from trackline.models import weights
from trackline.models.network import Network

SIZES = {"patch": 16, "width": 8, "depth": 2, "heads": 1}


def make_network(temporal: bool = True, **backbone: Any) -> Network:
    return Network(
        Model(
            variant="tracking", template=Crop(32, 2.0), search=Crop(64, 4.0),
            backbone=Backbone(**{**SIZES, "temporal": temporal, **backbone}),
            elimination=Elimination((), ()), head_width=8,
        ),
        0,
    ).eval()  # fmt: skip


def make_vit(depth: int = 2, width: int = 8) -> dict[str, Tensor]:
    """The state dict of a plain ViT at 224 pixels, as MAE and timm store it."""
    state = make_network(depth=depth, width=width).backbone.state_dict()
    own = {k: torch.randn_like(v) for k, v in state.items() if not k.startswith(("pos_", "temp"))}
    return {**own, "pos_embed": torch.randn(1, 197, width), "cls_token": torch.randn(1, 1, width)}


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
    weights.load_into(network, vit)
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
    report = weights.load_into(mine, tmp_path / "theirs.safetensors")
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
    weights.load_into(network, tmp_path / "ostrack.safetensors")
    assert not network.backbone.temporal_z.any()


def test_another_normalisation_of_images_is_folded_into_the_patch_embedding() -> None:
    state, image = make_vit(), torch.rand(1, 3, 32, 32)
    folded = weights.fold_normalisation(state, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

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
    assert "norm.weight" in weights.read_checkpoint(path)
    assert not sprung.exists()


def test_a_checkpoint_that_would_run_a_command_is_refused(tmp_path: Path) -> None:
    path, sprung = tmp_path / "tracker.pth", tmp_path / "sprung"
    torch.save({"net": make_vit(), "settings": Trap(os.system, f"touch {sprung}")}, path)
    with pytest.raises(PackageError, match="holds code, which is never run"):
        weights.read_checkpoint(path)
    assert not sprung.exists()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"net": make_vit(depth=3)}, "blocks.2.*model.backbone.depth"),
        ({"net": make_vit(width=16)}, r"is \[.*\] in .* but \[.*\] in this network"),
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
        weights.load_into(network, tmp_path / "other.pth")
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    for name in ("torn.pth", "torn.safetensors"):
        (tmp_path / name).write_bytes(b"no weights")
        with pytest.raises(PackageError, match="cannot be read as a checkpoint"):
            weights.read_checkpoint(tmp_path / name)


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(PackageError, match="does not exist"):
        weights.initialise(make_network(), "weights/none.pth")


def test_an_unknown_timm_model_is_refused() -> None:
    with pytest.raises(PackageError, match="timm gives no weights of that name"):
        weights.initialise(make_network(), "vit_of_nobody")
