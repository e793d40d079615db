"""The network at its real size (ViT-B, 192/384), by weights that follow a recipe."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor

from trackline.config import Backbone, History, Model
from trackline.data.clips import normalise
from trackline.models.heads import Maps
from trackline.models.history import Memory
from trackline.models.network import Network
from trackline.models.weights import load_state

if TYPE_CHECKING:
    from tests.golden.conftest import Golden

Array = np.ndarray[Any, Any]


def make_weights(keys: list[dict[str, Any]], recipe_seed: int) -> dict[str, Tensor]:
    """The reference's state dict of pseudo-random numbers, each from its name's checksum."""
    state = {}
    for entry in keys:
        name, shape = entry["name"], tuple(entry["shape"])
        seed = (zlib.crc32(name.encode()) + 1000003 * recipe_seed) % 2**32
        value = scale(name, shape, np.random.RandomState(seed).standard_normal(shape))
        dtype = torch.int64 if name.endswith("num_batches_tracked") else torch.float32
        state[name] = torch.as_tensor(np.asarray(value)).to(dtype)
    return state


def scale(name: str, shape: tuple[int, ...], n: Array) -> Array:
    """Give normal numbers the scale that the recipe states for a tensor of that name."""
    special = {
        "num_batches_tracked": 0 * n,
        "running_mean": 0.1 * n,
        "running_var": 1 + 0.25 * np.abs(n),
        "cls_token": 0.02 * n,
    }
    kind = name.rsplit(".", 1)[-1]
    if kind in special:
        return special[kind]
    if "pos_embed" in name:
        return 0.3 * n
    if len(shape) == 1 and kind == "weight":
        return 1 + 0.1 * n
    if len(shape) == 1:
        return -1.28 + 0.02 * n if name == "box_head.conv5_size.bias" else 0.05 * n
    return find_gain(name) * n / math.sqrt(math.prod(shape[1:]))


def find_gain(name: str) -> float:
    """The recipe's gain of a weight matrix."""
    for part, gain in (("qkv", 1.6), ("conv5_ctr", 3.0), ("conv5_size", 0.2)):
        if part in name:
            return gain
    return 1.3 if ".conv" in name or "conv" in name.split(".")[-2] else 1.0


@pytest.mark.slow
@torch.no_grad()
def test_whole_network(golden: Callable[[str], Golden], golden_file: Callable[[str], Path]) -> None:
    data = golden("full_vitb384")
    keys = json.loads(golden_file("hiptrack_vitb384_keys.json").read_text(encoding="utf-8"))
    network = Network(
        Model(variant="tracking", backbone=Backbone(drop_path=0.0), reference_compat=True), 0
    ).eval()
    state = make_weights(keys["keys"], data.metadata["recipe_seed"])
    assert not load_state(network, state, "the recipe").initialised
    del state
    follow(data, network)


def follow(data: Golden, network: Network) -> None:
    """Frames of some numbers, in order: reading, predicting, writing as the schedule says."""
    history, grid = network.config.history, network.backbone.grid_x
    memory = Memory(1, 3, grid**2, history.key_width, 384, torch.empty(0))
    template = prepare(data["template_u8"])[None]
    masks = watch_masks(network)
    stem = network.look_at_template(template, data["template_box_xywh"])
    for row, i in enumerate(data["frame_index"].tolist()):
        image = data["search_u8_half"][row].repeat_interleave(2, 0).repeat_interleave(2, 1)
        search = prepare(image)[None]
        features = network.backbone(template, search)
        entry = network.write_template_stem(stem, features.template_bzc)
        entries = entry if i <= history.template_until else memory.entries([0])[:2]
        maps, boxes, *_ = network.predict(features, *entries)
        assert isinstance(maps, Maps)
        removed = ~features.alive_bx
        expected = torch.zeros_like(removed).scatter(1, data[f"i{i}.removed"].long(), True)
        data.agree(expected, removed, 0, f"i{i}.removed")
        data.agree(f"i{i}.score_map", maps.score_bgg)
        data.agree(f"i{i}.size_map", maps.size_b2gg)
        data.agree(f"i{i}.offset_map", maps.offset_b2gg)
        data.agree(f"i{i}.pred_boxes", boxes)
        joined = torch.cat((features.template_bzc, features.search_bxc), dim=1)
        check_features(data, i, joined)
        if history.writes(i):
            memory.write([0], *network.write_frame(search, features, boxes))
    check_first_entry(data, memory)
    check_masks(data, masks, network.config.history)


def prepare(image: Tensor) -> Tensor:
    return normalise(image.movedim(-1, -3).float() / 255)


def check_features(data: Golden, i: int, joined_bnc: Tensor) -> None:
    """All features of the first frame, the mean over channels of the others."""
    if f"i{i}.backbone_feat" in data.tensors:
        data.agree(f"i{i}.backbone_feat", joined_bnc)
    else:
        data.agree(f"i{i}.backbone_feat_channel_mean", joined_bnc.mean(-1))


def check_first_entry(data: Golden, memory: Memory) -> None:
    """The oldest entry of the memory; its value is stored as float16, which costs 11 bits."""
    data.agree("bank.k_slot0", memory.keys[:, 0].transpose(1, 2))
    values = memory.values[:, 0].transpose(1, 2)
    data.agree("bank.v_slot0", values, 2**-10)


def watch_masks(network: Network) -> list[Tensor]:
    """Collect the masks that the prompt encoder sees."""
    masks: list[Tensor] = []
    look = network.history.encoder.look

    def watched(image_bchw: Tensor, mask_bhw: Tensor) -> Tensor:
        masks.append(mask_bhw)
        return look(image_bchw, mask_bhw)

    network.history.encoder.look = watched  # type: ignore[method-assign]
    return masks


def check_masks(data: Golden, masks: list[Tensor], history: History) -> None:
    """The template's mask, which the reference encodes anew for each early frame, and the frames'."""
    template, *written = masks
    expected = list(data["masks_packed"])
    for i in data["frame_index"].tolist():
        seen = [template] if i <= history.template_until else []
        for mask in [*seen, written.pop(0)] if history.writes(i) else seen:
            packed = np.packbits(mask[0].bool().numpy(), axis=-1)
            data.agree(expected.pop(0), packed, 0, f"masks_packed of frame {i}")
    assert not expected
