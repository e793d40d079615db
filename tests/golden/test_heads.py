"""The centre head as the reference computes it; the other two do not exist here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import torch

from trackline.models.heads import CentreHead, decode
from trackline.models.weights import rename

if TYPE_CHECKING:
    from tests.golden.conftest import Golden


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_centre_head(golden: Callable[[str], Golden], mode: str) -> None:
    data = golden("head_center")
    head = CentreHead(data.metadata["inplanes"], data.metadata["channel"]).train(mode == "train")
    head.load_state_dict(data.part("box_head.", "box_head."))
    with torch.no_grad():
        maps = head(data["x"])
    data.agree(f"{mode}.score_map", maps.score_bgg)
    data.agree(f"{mode}.size_map", maps.size_b2gg)
    data.agree(f"{mode}.offset_map", maps.offset_b2gg)
    data.agree(f"{mode}.box_cxcywh", decode(maps)[0])
    windowed, _ = decode(maps, data[f"{mode}.window"][0, 0])
    data.agree(f"{mode}.windowed_box_cxcywh", windowed)
    if mode == "train":
        check_statistics(data, head)


def check_statistics(data: Golden, head: CentreHead) -> None:
    """Running statistics after one forward pass."""
    state = head.state_dict()
    for key in data.tensors:
        if key.startswith("after_train."):
            mine = rename("box_head." + key.removeprefix("after_train.")).removeprefix("box_head.")
            data.agree(key, state[mine])


@pytest.mark.parametrize("head", ["head_corner", "head_mlp"])
def test_other_heads(head: str) -> None:
    pytest.skip(f"{head}: this project has the centre head only")
