"""Five frames through the whole network, losses and gradients, as the reference computes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from trackline.config import Train
from trackline.data.clips import normalise
from trackline.models.backbone import Features
from trackline.models.heads import Maps
from trackline.models.network import Network, Prediction
from trackline.models.weights import rename
from trackline.training.loop import keep_ratio
from trackline.training.losses import Losses, compute_losses

if TYPE_CHECKING:
    from tests.golden.conftest import Golden

LOSSES = ("total", "giou", "l1", "location", "iou")


class Watch:
    """Collects what passes through parts of a network: features and painted masks."""

    def __init__(self, network: Network) -> None:
        self.features: list[Features] = []
        self.masks: list[Tensor] = []
        network.backbone.register_forward_hook(self._keep_features)
        self._look = network.history.encoder.look
        network.history.encoder.look = self._keep_mask  # type: ignore[method-assign]

    def _keep_features(self, _: nn.Module, __: Any, features: Features) -> None:
        self.features.append(features)

    def _keep_mask(self, image_bchw: Tensor, mask_bhw: Tensor) -> Tensor:
        self.masks.append(mask_bhw)
        return self._look(image_bchw, mask_bhw)


def forward(
    data: Golden, network: Network, keep: float, dtype: torch.dtype = torch.float32
) -> tuple[list[Prediction], list[Losses], Watch]:
    """Run the clip of a file and its losses."""
    watch = Watch(network)
    searches = data["search_u8_half"].repeat_interleave(2, 2).repeat_interleave(2, 3)
    images = (data["template_u8"], searches.transpose(0, 1))
    template, clip = (normalise(x.movedim(-1, -3).to(dtype) / 255) for x in images)
    predictions = network(template, data["template_box_xywh"], clip, keep)
    truth = data["gt_xywh"]
    losses = [compute_losses(p, truth[i], None, 0.0) for i, p in enumerate(predictions)]
    return predictions, losses, watch


def check_forward(
    data: Golden, name: str, predictions: list[Prediction], losses: list[Losses], watch: Watch
) -> None:
    """Maps, boxes, removed tokens, masks and losses of each frame."""
    masks = torch.stack(watch.masks)
    packed = data[f"{name}.masks_packed"]
    steps = 2 ** torch.arange(7, -1, -1)
    data.agree(packed, (masks.unflatten(-1, (-1, 8)) * steps).sum(-1), 0, f"{name}.masks_packed")
    for i, prediction in enumerate(predictions):
        frame = f"{name}.frame{i}"
        assert isinstance(prediction.found, Maps)
        data.agree(f"{frame}.score_map", prediction.found.score_bgg)
        data.agree(f"{frame}.size_map", prediction.found.size_b2gg)
        data.agree(f"{frame}.offset_map", prediction.found.offset_b2gg)
        data.agree(f"{frame}.pred_boxes", prediction.boxes_cxcywh)
        check_features(data, frame, watch.features[0].take(slice(i, None, len(predictions))))
    table = torch.stack([torch.stack([getattr(row, k) for k in LOSSES]) for row in losses])
    data.agree(f"{name}.loss_table", table)
    data.agree(f"{name}.total_loss", table[:, 0].sum())


def check_features(data: Golden, frame: str, features: Features) -> None:
    """The tokens removed layer by layer, as sets, and some of the features."""
    before = torch.ones_like(features.alive_bx)
    for layer, ids in enumerate(features.survivors):
        after = torch.zeros_like(before).scatter(1, ids, True)
        removed = data[f"{frame}.removed_{layer}"].long()
        expected = torch.zeros_like(before).scatter(1, removed, True)
        data.agree(expected, before & ~after, 0, f"{frame}.removed_{layer}")
        before = after
    if f"{frame}.backbone_feat" in data.tensors:
        joined = torch.cat((features.template_bzc, features.search_bxc), dim=1)
        data.agree(f"{frame}.backbone_feat", joined)


def build(golden: Callable[[str], Golden]) -> tuple[Golden, Network]:
    data = golden("model_train")
    return data, golden("model_small").network()


def test_evaluation_mode(golden: Callable[[str], Golden]) -> None:
    data, network = build(golden)
    with torch.no_grad():
        results = forward(data, network, data.metadata["r"][0])
    check_forward(data, "eval", *results)


def test_gradients(golden: Callable[[str], Golden]) -> None:
    """In float64: in float32 a few units on the edge of their ReLU open or close by noise alone."""
    data, network = build(golden)
    network.double().backbone.requires_grad_(False)
    _, losses, _ = forward(data, network, data.metadata["r"][0], torch.float64)
    torch.stack([row.total for row in losses]).sum().backward()
    gradients = {k: p.grad for k, p in network.named_parameters() if p.grad is not None}
    for key in data.tensors:
        if key.startswith("eval.grad."):
            check_gradient(data, key, gradients[rename(key.removeprefix("eval.grad."))])
    norms = data.metadata["info"]["eval.grad_norms"]
    assert {rename(name) for name in norms} == gradients.keys()
    for name, norm in norms.items():
        mine = gradients[rename(name)].norm()
        data.agree(torch.tensor(norm), mine, 1e-3, f"eval.grad_norms {name}")


def check_gradient(data: Golden, key: str, mine: Tensor) -> None:
    """Each element to 1e-4; where a unit of the reference itself sat on its edge, all together to 1e-3."""
    expected = data[key].double()
    largest = ((mine - expected).abs() / expected.abs().clamp(min=1)).max()
    if largest <= 1e-4:
        data.agree(key, mine)
    else:
        off = (mine - expected).norm() / expected.norm()
        data.agree(torch.zeros(()), off, 1e-3, f"{key} (norm of the difference)")


def test_training_mode_and_statistics(golden: Callable[[str], Golden]) -> None:
    data, network = build(golden)
    with torch.no_grad():
        results = forward(data, network.train(), data.metadata["r"][0])
    check_forward(data, "train", *results)
    state = network.state_dict()
    for key in data.tensors:
        if key.startswith("train.after."):
            data.agree(key, state[rename(key.removeprefix("train.after."))])


@pytest.mark.parametrize("epoch", [1, 60])
def test_schedule_of_elimination(golden: Callable[[str], Golden], epoch: int) -> None:
    data, network = build(golden)
    schedule = Train(keep_start_epoch=20, keep_warmup_epochs=80)
    with torch.no_grad():
        results = forward(data, network, keep_ratio(epoch, data.metadata["r"][0], schedule))
    check_forward(data, f"epoch{epoch}", *results)
