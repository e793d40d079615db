"""The network: shapes at any size, elimination, memory, variants and gradients."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from trackline import records
from trackline.config import Backbone, ClassHead, Crop, Elimination, History, Model
from trackline.errors import ConfigError
from trackline.models import history
from trackline.models.backbone import template_rows
from trackline.models.heads import Maps
from trackline.models.history import Memory, paint_mask, read_memory
from trackline.models.network import Network, Prediction

SMALL = Model(
    template=Crop(32, 2.0),
    search=Crop(64, 4.0),
    backbone=Backbone(patch=16, width=24, depth=3, heads=3, drop_path=0.0),
    elimination=Elimination(layers=(1, 2), keep=(0.7, 0.7)),
    history=History(key_width=8, stem_width=4, capacity=3, first_writes=(1, 2), interval=2),
    head_width=16,
    class_head=ClassHead(hidden=12),
)
QKV = "backbone.blocks.0.attn.qkv.weight"
BOX = torch.tensor([[0.25, 0.25, 0.5, 0.5]])


def make_inputs(
    model: Model, b: int = 2, t: int = 3
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    template = torch.randn(b, 3, model.template.size, model.template.size)
    searches = torch.randn(b, t, 3, model.search.size, model.search.size)
    return template, BOX.repeat(b, 1), searches


def score_of(prediction: Prediction) -> torch.Tensor:
    """The map of scores of a centre head."""
    assert isinstance(prediction.found, Maps)
    return prediction.found.score_bgg


@pytest.mark.parametrize(
    ("template", "search", "patch", "stem"),
    [
        (32, 64, 16, "patch"),
        (32, 64, 16, "convolutional"),
        (24, 40, 8, "patch"),
        (28, 56, 14, "patch"),  # a patch that the stem's strides do not make
        (64, 96, 32, "convolutional"),
        (48, 48, 16, "patch"),  # an odd grid
    ],
)
def test_every_size_builds_runs_and_learns(
    template: int, search: int, patch: int, stem: str
) -> None:
    model = dataclasses.replace(
        SMALL,
        template=Crop(template, 2.0),
        search=Crop(search, 4.0),
        backbone=records.parse(
            Backbone,
            {"patch": patch, "stem": stem, "width": 24, "depth": 3, "heads": 3, "drop_path": 0.0},
        ),
    )
    network = Network(model, 5)
    predictions = network(*make_inputs(model))
    assert len(predictions) == 3
    grid = search // patch
    for prediction in predictions:
        assert score_of(prediction).shape == (2, grid, grid)
        assert prediction.boxes_cxcywh.shape == (2, 4)
        assert prediction.logits is not None
        assert prediction.logits.shape == (2, 5)
    total = torch.stack([p.boxes_cxcywh.sum() + score_of(p).sum() for p in predictions])
    torch.cat(
        [total, *(p.logits.flatten() for p in predictions if p.logits is not None)]
    ).sum().backward()
    without = {n for n, p in network.named_parameters() if p.grad is None}
    assert not without


def test_elimination_keeps_what_the_ratio_says_and_leaves_zeros() -> None:
    network = Network(SMALL, 5).eval()
    template, _, searches = make_inputs(SMALL)
    features = network.backbone(template, searches[:, 0])
    assert [ids.shape[1] for ids in features.survivors] == [12, 9]  # ceil(.7·16), ceil(.7·12)
    assert features.alive_bx.sum(1).tolist() == [9, 9]
    assert not features.search_bxc[~features.alive_bx].any()
    assert set(features.survivors[1][0].tolist()) <= set(features.survivors[0][0].tolist())


def test_a_ratio_of_one_eliminates_nothing() -> None:
    network = Network(SMALL, 5).eval()
    template, _, searches = make_inputs(SMALL)
    features = network.backbone(template, searches[:, 0], keep=1.0)
    assert features.survivors == ()
    assert features.alive_bx.all()


def test_the_template_s_most_attended_tokens_survive() -> None:
    """The kept tokens are those with the largest softmax row of the template's centre."""
    network = Network(dataclasses.replace(SMALL, elimination=Elimination((0,), (0.5,))), 5).eval()
    template, _, searches = make_inputs(SMALL)
    backbone: Any = network.backbone
    block = backbone.blocks[0]
    tokens = block.norm1(backbone._embed(template, searches[:, 0]))
    q, k, _ = block.attn.qkv(tokens).view(2, 20, 3, 3, 8).permute(2, 0, 3, 1, 4)
    weights = (q @ k.transpose(-2, -1) / 8**0.5).softmax(-1)[:, :, 0, 4:].mean(1)
    expected = {int(i) for i in weights[0].topk(8).indices}
    assert set(backbone(template, searches[:, 0]).survivors[0][0].tolist()) == expected


@pytest.mark.parametrize(
    ("mode", "grid", "rows"),
    [
        ("centre", 12, [65]),
        ("centre", 8, [27]),
        ("centre_square", 8, [27, 28, 35, 36]),
        ("centre", 3, [4]),
        ("centre_square", 3, [4]),
        ("all", 8, None),
    ],
)
def test_template_rows(mode: str, grid: int, rows: list[int] | None) -> None:
    assert template_rows(mode, grid) == rows


def test_clips_are_followed_as_if_frame_by_frame() -> None:
    """One batch through the backbone equals frames on their own."""
    network = Network(SMALL, 5).eval()
    template, box, searches = make_inputs(SMALL)
    together = network(template, box, searches)
    alone = network(template, box, searches[:, :1])
    torch.testing.assert_close(score_of(together[0]), score_of(alone[0]))


def test_later_frames_depend_on_earlier_ones() -> None:
    network = Network(SMALL, 5).eval()
    template, box, searches = make_inputs(SMALL)
    changed = searches.clone()
    changed[:, 0] += 1
    before, after = network(template, box, searches), network(template, box, changed)
    assert not torch.allclose(score_of(before[1]), score_of(after[1]))


def test_gradients_of_both_tasks_reach_the_backbone() -> None:
    network = Network(SMALL, 5)
    for pick in ("logits", "boxes_cxcywh"):
        network.zero_grad()
        getattr(network(*make_inputs(SMALL))[0], pick).sum().backward()
        gradient = network.get_parameter(QKV).grad
        assert gradient is not None
        assert gradient.count_nonzero() > 0


def test_a_tracking_network_has_no_class_head() -> None:
    network = Network(dataclasses.replace(SMALL, variant="tracking"), 0)
    assert network(*make_inputs(SMALL))[0].logits is None


def test_in_the_fusion_variant_the_class_feeds_the_box() -> None:
    network = Network(dataclasses.replace(SMALL, variant="fusion"), 5).eval()
    inputs = make_inputs(SMALL)
    before = score_of(network(*inputs)[0])
    with torch.no_grad():
        network.get_parameter("class_head.hidden.bias").add_(1)
    assert not torch.allclose(before, score_of(network(*inputs)[0]))


def test_one_class_is_no_classification() -> None:
    with pytest.raises(ConfigError, match="at least two"):
        Network(SMALL, 1)


def test_the_read_out_is_a_softmax_over_distances() -> None:
    """−‖k − q‖²/√k over all positions, against the formula written out."""
    torch.manual_seed(0)
    query, keys, values = torch.randn(2, 5, 8), torch.randn(2, 7, 8), torch.randn(2, 7, 6)
    distance = (query[:, :, None] - keys[:, None]).square().sum(-1)
    expected = (-distance / 8**0.5).softmax(-1) @ values
    torch.testing.assert_close(read_memory(query, keys, values), expected)


def test_positions_that_are_not_valid_are_not_read() -> None:
    torch.manual_seed(0)
    query, keys, values = torch.randn(2, 5, 8), torch.randn(2, 7, 8), torch.randn(2, 7, 6)
    valid = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    read = read_memory(query, keys, values, valid)
    torch.testing.assert_close(read[0], read_memory(query, keys, values)[0])
    shorter = read_memory(query[1:], keys[1:, :4], values[1:, :4])
    torch.testing.assert_close(read[1:], shorter)


@pytest.mark.parametrize("chunk", [3, 4, 7])
def test_a_long_memory_is_read_in_chunks_to_the_same_effect(
    monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    torch.manual_seed(0)
    query, keys, values = 3 * torch.randn(2, 5, 8), torch.randn(2, 11, 8), torch.randn(2, 11, 6)
    keys[:, 6:] *= 30  # so far away that their weight is zero in float32
    valid = torch.tensor([[True] * 11, [True] * 2 + [False] * 9])
    expected = [read_memory(query, keys, values, mask) for mask in (None, valid)]
    monkeypatch.setattr(history, "CHUNK", chunk)
    assert torch.is_grad_enabled()  # training reads at once
    with torch.no_grad():
        chunked = [read_memory(query, keys, values, mask) for mask in (None, valid)]
    torch.testing.assert_close(chunked, expected)


def test_neighbouring_streams_are_read_where_they_lie() -> None:
    memory = Memory(streams=3, capacity=2, positions=1, key=1, value=1, like=torch.empty(0))
    for stream in range(3):
        entry = torch.full((1, 1, 1), float(stream))
        memory.write([stream], entry, entry)
    keys, _, _ = memory.entries([1, 2])
    assert keys.flatten().tolist() == [1, 2]
    assert keys.untyped_storage().data_ptr() == memory.keys.untyped_storage().data_ptr()
    assert memory.entries([2, 0])[0].flatten().tolist() == [2, 0]


def test_the_memory_forgets_the_oldest_entry_first() -> None:
    memory = Memory(streams=2, capacity=2, positions=1, key=1, value=1, like=torch.empty(0))
    for number in (1.0, 2.0, 3.0):
        entry = torch.full((1, 1, 1), number)
        memory.write([0], entry, entry)
    memory.write([1], torch.full((1, 1, 1), 9.0), torch.full((1, 1, 1), 9.0))
    keys, _, valid = memory.entries([0, 1])
    assert sorted(keys[0, :, 0].tolist()) == [2.0, 3.0]
    assert valid is not None
    assert keys[1][valid[1]].tolist() == [[9.0]]
    memory.reset(0)
    memory.write([0], torch.zeros(1, 1, 1), torch.zeros(1, 1, 1))
    assert memory.entries([0])[0].tolist() == [[[0.0]]]


def test_masks_cover_the_box_but_not_eliminated_cells() -> None:
    alive = torch.ones(1, 16, dtype=torch.bool)
    alive[0, 5] = False  # row 1, column 1
    mask = paint_mask(torch.tensor([[8.0, 8, 40, 40]]), alive, 64, compat=False)
    assert mask.sum() == 32 * 32 - 16 * 16
    assert not mask[0, 16:32, 16:32].any()


def test_a_box_across_the_top_edge_has_a_mask_except_in_compat_mode() -> None:
    box = torch.tensor([[8.0, -8, 40, 20]])
    assert paint_mask(box, None, 64, compat=False).sum() == 32 * 20
    assert paint_mask(box, None, 64, compat=True).sum() == 0
