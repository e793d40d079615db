"""The three box heads as the reference computes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import torch

from trackline.boxes import xyxy_to_cxcywh
from trackline.models.heads import CentreHead, CornerHead, MlpHead, decode
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


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_corner_head(golden: Callable[[str], Golden], mode: str) -> None:
    data = golden("head_corner")
    sizes = data.metadata["inplanes"], data.metadata["channel"]
    head = CornerHead(*sizes, compat=True).train(mode == "train")
    head.load_state_dict(data.part("box_head.", "box_head."))
    with torch.no_grad():
        top_left, bottom_right = head.weigh(data["x"])
    data.agree(f"{mode}.prob_tl", top_left.flatten(1))
    data.agree(f"{mode}.prob_br", bottom_right.flatten(1))
    corners = torch.cat((head.expect(top_left), head.expect(bottom_right)), dim=1)
    data.agree(f"{mode}.box_xyxy", corners)
    if mode == "train":
        check_statistics(data, head)


def test_boxes_of_the_corner_head(golden: Callable[[str], Golden]) -> None:
    """Logits, and the box: its corners in order, which the reference leaves as they come."""
    data = golden("head_corner")
    head = CornerHead(data.metadata["inplanes"], data.metadata["channel"], compat=True).eval()
    head.load_state_dict(data.part("box_head.", "box_head."))
    with torch.no_grad():
        data.agree("eval.score_tl", head.top_left(data["x"]))
        data.agree("eval.score_br", head.bottom_right(data["x"]))
        boxes, scores = head(data["x"])
    first, second = data["eval.box_xyxy"].split(2, dim=1)
    ordered = torch.cat((first.minimum(second), first.maximum(second)), dim=1)
    data.agree(xyxy_to_cxcywh(ordered), boxes, name="eval.box_xyxy in order")
    peaks = [data[f"eval.prob_{corner}"].amax(1) for corner in ("tl", "br")]
    data.agree((peaks[0] * peaks[1]).sqrt(), scores, name="eval.prob_tl/br peaks")


def test_mlp_head(golden: Callable[[str], Golden]) -> None:
    data = golden("head_mlp")
    head = MlpHead(data.metadata["input_dim"], data.metadata["hidden_dim"])
    head.load_state_dict(data.part("box_head.", "box_head."))
    with torch.no_grad():
        data.agree("y", head.regress(data["x"]))


def check_statistics(data: Golden, head: torch.nn.Module) -> None:
    """Running statistics after one forward pass."""
    state = head.state_dict()
    for key in data.tensors:
        if key.startswith("after_train."):
            mine = rename("box_head." + key.removeprefix("after_train.")).removeprefix("box_head.")
            data.agree(key, state[mine])
