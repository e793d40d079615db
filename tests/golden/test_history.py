"""The history branch: masks, memory values, read-out and eviction, as the reference has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor

from trackline.boxes import cxcywh_to_xyxy, xywh_to_xyxy
from trackline.config import Backbone, Crop, Elimination, History, Model
from trackline.models.history import HistoryBranch, Memory, paint_mask, read_memory

if TYPE_CHECKING:
    from tests.golden.conftest import Golden

Entries = list[tuple[Tensor, Tensor]]


def unpack(packed: Tensor) -> Tensor:
    """Bits of numpy.packbits as 0 and 1 along the last axis."""
    return torch.from_numpy(np.unpackbits(packed.numpy(), axis=-1))


def test_masks_in_compat_mode(golden: Callable[[str], Golden]) -> None:
    data = golden("hip_mask")
    size, grid = data.metadata["side"], data.metadata["grid"]
    expected = unpack(data["mask_packed"])
    for i, case in enumerate(data.metadata["cases"]):
        box = data["box"][i : i + 1] * size
        xyxy = cxcywh_to_xyxy(box) if case["fmt"] == "cxcywh" else xywh_to_xyxy(box.trunc())
        alive = torch.ones(1, grid**2, dtype=torch.bool)
        removed = data["removed"][i].long()
        alive[0, removed[removed >= 0]] = False
        mask = paint_mask(xyxy, alive if case["ce"] else None, size, compat=True)
        data.agree(expected[i], mask[0], 0, f"mask_packed[{i}]")


@pytest.fixture
def branch(golden: Callable[[str], Golden]) -> HistoryBranch:
    """The branch alone; without its stem and fusion where a file holds only the rest."""
    data = golden("hip")
    width, key = data.metadata["D"], data.metadata["keydim"]
    model = Model(
        variant="tracking", template=Crop(16, 2.0), search=Crop(16, 5.0),
        backbone=Backbone(width=width, depth=1, heads=1), elimination=Elimination((), ()),
        history=History(key_width=key), reference_compat=True,
    )  # fmt: skip
    branch = HistoryBranch(model).eval()
    source = data if data.weights else golden("model_small")
    _, surplus = branch.load_state_dict(source.part("history."), strict=False)
    assert not surplus
    return branch


def features(data: Golden, frames: slice) -> Tensor:
    return data["feat"][frames].flatten(0, 1)


def entries(data: Golden) -> Entries:
    """What the reference wrote for each frame: keys and values, [1, positions, width]."""
    frames = range(sum(key.startswith("key_") for key in data.tensors))
    return [(flat(data[f"key_{i}"]), flat(data[f"value_{i}"].flatten(1, 2))) for i in frames]


def flat(x_bcgg: Tensor) -> Tensor:
    return x_bcgg.flatten(2).transpose(1, 2)


@torch.no_grad()
def test_values_of_frames(golden: Callable[[str], Golden], branch: HistoryBranch) -> None:
    data = golden("hip")
    images, masks = data["image"], data["mask"]
    for i in range(len(images)):
        keys, values = branch.write(images[i], features(data, slice(i, i + 1)), masks[i, :, 0])
        data.agree(f"key_{i}", keys.transpose(1, 2))
        data.agree(f"value_{i}", values.transpose(1, 2))


@torch.no_grad()
def test_steps_of_the_prompt_encoder(
    golden: Callable[[str], Golden], branch: HistoryBranch
) -> None:
    data, encoder = golden("hip"), branch.encoder
    feature = features(data, slice(0, 1))
    mixed = encoder.block1(torch.cat((data["frame0.stem"], feature), dim=1))
    data.agree("frame0.block1", mixed)
    data.agree("frame0.cbam", encoder.attention(mixed))
    data.agree("value_0", encoder.mix(data["frame0.stem"], feature))
    data.agree("key_0", branch.to_key(feature))
    data.agree("thin_0", branch.to_thin(feature))
    if "image" in data.tensors:
        data.agree("frame0.stem", encoder.look(data["image"][0], data["mask"][0, :, 0]))


@torch.no_grad()
def test_reads_of_earlier_frames(golden: Callable[[str], Golden]) -> None:
    data = golden("hip")
    written = entries(data)
    for t in range(1, len(written)):
        query = written[t][0]
        keys, values = (torch.cat(part, dim=1) for part in zip(*written[:t], strict=True))
        read = read_memory(query, keys, values)
        data.agree(f"train_read_{t}", prompt(read, data[f"thin_{t}"]))
        if f"train_affinity_{t}" in data.tensors:
            weights = read_memory(query, keys, torch.eye(keys.shape[1])[None])
            data.agree(f"train_affinity_{t}", weights.transpose(1, 2))


def prompt(read_bqv: Tensor, thin_bvgg: Tensor) -> Tensor:
    """What is read and the thin features of the query, as maps."""
    return torch.cat((read_bqv.transpose(1, 2).view_as(thin_bvgg), thin_bvgg), dim=1)


@torch.no_grad()
def test_a_full_memory_forgets_the_oldest_frame(golden: Callable[[str], Golden]) -> None:
    data = golden("hip")
    written = entries(data)
    capacity = data.metadata["bank_capacity"]
    (_, positions, key), value = written[0][0].shape, written[0][1].shape[2]
    memory = Memory(1, capacity, positions, key, value, torch.empty(0))
    for t, entry in enumerate(written):
        memory.write([0], *entry)
        keys, values, valid = memory.entries([0])
        following = (t + 1) % len(written)
        read = read_memory(written[following][0], keys, values, valid)
        expected = f"bank_after_{t}.read_with_query_{following}"
        data.agree(expected, prompt(read, data[f"thin_{following}"]))
        data.agree(f"bank_after_{t}.count", keys.shape[1] // positions, 0)
    oldest = len(written) % capacity
    for part, name in ((keys, "bank_final.k"), (values, "bank_final.v")):
        ordered = part.unflatten(1, (capacity, positions)).roll(-oldest, 1).flatten(1, 2)
        data.agree(name, ordered.transpose(1, 2))


def test_training_normalises_by_the_batch(
    golden: Callable[[str], Golden], branch: HistoryBranch
) -> None:
    data = golden("hip")
    pair = slice(0, 2)
    images, masks = data["image"][pair].flatten(0, 1), data["mask"][pair].flatten(0, 2)
    with torch.no_grad():
        _, values = branch.train().write(images, features(data, pair), masks)
    data.agree("trainmode.value_batch01", values.transpose(1, 2))
