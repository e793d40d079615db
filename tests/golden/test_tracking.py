"""A target followed frame by frame, each from the reference's own last box: crops to memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from trackline.config import Crop, History, Track
from trackline.data.crops import cut, place_compat, place_window, to_crop
from trackline.models.heads import Maps, decode
from trackline.models.network import Network
from trackline.tracking.tracker import Tracker

if TYPE_CHECKING:
    from tests.golden.conftest import Golden

Array = np.ndarray[Any, Any]


@pytest.mark.parametrize("name", ["track_default", "track_fast"])
def test_tracking(golden: Callable[[str], Golden], name: str) -> None:
    """`track_fast` writes so often that entries are evicted."""
    data = golden(name)
    network = build(golden, data)
    tracker = Tracker(network, Track(window=1.0, clip_margin_px=data.metadata["clip_margin"]))
    seen: list[Maps] = []
    network.box_head.register_forward_hook(lambda *given: seen.append(given[-1]))
    check_template(data, network)
    tracker.start(0, draw(data, 0), data["init_xywh"].numpy())
    for t in range(data.metadata["frames"]):
        state = tracker._streams[0].box_xywh = data["state_before"][t].numpy()
        result = tracker.step([0], [draw(data, t + 1)])[0]
        data.agree(data["state_after"][t], result.box_xywh, name=f"state_after[{t}]")
        check_maps(data, t, seen.pop(), tracker)
        check_crop(data, t, state, network)
        held = min(tracker.memory.written[0], data.metadata["max_mem"])
        data.agree(data["mem_count"][t], held, 0, f"mem_count[{t}]")
    keys, values, _ = tracker.memory.entries([0])
    data.agree("bank_final.k_mean_abs", keys.abs().mean())
    data.agree("bank_final.v_mean_abs", values.abs().mean())


def build(golden: Callable[[str], Golden], data: Golden) -> Network:
    """The network of the other file, with the schedule of this one."""
    model, known = golden("model_small"), data.metadata
    small = model.architecture()
    return model.network(
        template=Crop(small.template.size, known["template_factor"]),
        search=Crop(small.search.size, known["search_factor"]),
        history=History(
            key_width=small.history.key_width,
            capacity=known["max_mem"],
            interval=known["update_interval"],
        ),
    )


def draw(data: Golden, t: int) -> Array:
    """Frame t: the patch pasted on the background."""
    image, patch = data["background"].numpy().copy(), data["patch"].numpy()
    x, y = data["patch_xy"][t].tolist()
    image[y : y + patch.shape[0], x : x + patch.shape[1]] = patch
    return image


def check_template(data: Golden, network: Network) -> None:
    """The template's pixels and its box in them."""
    box, crop = data["init_xywh"].numpy(), network.config.template
    window = place_window(box, crop.factor)
    data.agree("template_resize_factor", crop.size / window.side)
    check_pixels(data, "template_crop", cut(draw(data, 0), window, crop.size, compat=True))
    in_crop = to_crop(box, place_compat(box, window, crop.size))
    data.agree("template_box_normalised_xywh", in_crop)


def check_pixels(data: Golden, key: str, crop: Array) -> None:
    """Within a grey level, which is what builds of OpenCV differ by."""
    off = np.abs(crop.astype(int) - data[key].numpy()).max() / 255
    data.agree(torch.zeros(()), off, 1 / 255, key)


def check_crop(data: Golden, t: int, state: Array, network: Network) -> None:
    search = network.config.search
    window = place_window(state, search.factor)
    data.agree(data["resize_factor"][t], search.size / window.side, name=f"resize_factor[{t}]")
    if (key := f"frame{t + 1}.crop") in data.tensors:
        image = draw(data, t + 1)
        check_pixels(data, key, cut(image, window, search.size, compat=True))


def check_maps(data: Golden, t: int, maps: Maps, tracker: Tracker) -> None:
    """The cells chosen, with and without the window, their boxes, and some of the maps."""
    score, response = maps.score_bgg, maps.score_bgg * tracker.window
    data.agree(data["score_argmax"][t], score.argmax(), 0, f"score_argmax[{t}]")
    data.agree(data["resp_argmax"][t], response.argmax(), 0, f"resp_argmax[{t}]")
    data.agree(data["score_max"][t], score.max(), name=f"score_max[{t}]")
    data.agree(data["raw_box_cxcywh"][t], decode(maps)[0], name=f"raw_box_cxcywh[{t}]")
    windowed, _ = decode(maps, tracker.window)
    data.agree(data["windowed_box_cxcywh"][t], windowed, name=f"windowed_box_cxcywh[{t}]")
    parts = {"score_map": score, "size_map": maps.size_b2gg, "offset_map": maps.offset_b2gg}
    for name, part in parts.items():
        if (key := f"frame{t + 1}.{name}") in data.tensors:
            data.agree(key, part)
