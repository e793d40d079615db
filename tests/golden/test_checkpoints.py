"""Files with the layout of the reference's own: every name and shape, hardly a byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from trackline.config import Model
from trackline.models.checkpoints import read_checkpoint
from trackline.models.network import Network
from trackline.models.weights import load_state, rename


@pytest.fixture(scope="module")
def network() -> Network:
    return Network(Model(variant="tracking"), 0)


@pytest.mark.parametrize("tracker", ["hiptrack", "droptrack", "ostrack"])
def test_official_layouts_are_read(
    golden_file: Callable[[str], Path], network: Network, tracker: str
) -> None:
    path = golden_file(f"ckpt_layout_{tracker}.pth.tar")
    report = load_state(network, read_checkpoint(path), path.name)
    assert report.silent == (tracker != "hiptrack")
    assert report.left == ("backbone.cls_token", "backbone.pos_embed")
    fresh = {name.split(".")[0] for name in report.initialised}
    assert fresh == (set() if tracker == "hiptrack" else {"history"})
    own = network.state_dict()
    for name, tensor in read_checkpoint(path).items():
        if rename(name) in report.mapped:
            assert torch.equal(own[rename(name)], tensor)
    if tracker == "ostrack":
        assert not network.backbone.temporal_z.any()
        assert not network.backbone.temporal_x.any()


def test_every_name_of_the_reference_is_known(
    golden_file: Callable[[str], Path], network: Network
) -> None:
    keys = json.loads(golden_file("hiptrack_vitb384_keys.json").read_text(encoding="utf-8"))["keys"]
    renamed = {rename(entry["name"]): tuple(entry["shape"]) for entry in keys}
    own = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert own.items() <= renamed.items()
    assert renamed.keys() - own.keys() == {"backbone.cls_token", "backbone.pos_embed"}
