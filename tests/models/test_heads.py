"""Heads: each kind builds at any size, learns, tracks and says what it is sure of."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.models.test_network import SMALL, make_inputs
from trackline import records
from trackline.config import ClassHead, Crop, Elimination, Model, Track
from trackline.errors import ConfigError
from trackline.models.heads import Boxes, CornerHead, Maps, MlpHead, cover_cells, decode
from trackline.models.network import Network
from trackline.tracking.tracker import Tracker
from trackline.training.losses import compute_losses

HEADS = ("centre", "corner", "mlp")
TRUTH = torch.tensor([[0.3, 0.2, 0.3, 0.4], [0.5, 0.5, 0.2, 0.3]])


def with_head(head: str, **changes: object) -> Model:
    return dataclasses.replace(SMALL, head=head, **changes)  # type: ignore[arg-type]


def pool_over(pool: str, **changes: object) -> Model:
    parsed = records.parse(ClassHead, {"hidden": 12, "pool": pool})
    return dataclasses.replace(SMALL, class_head=parsed, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    ("template", "search", "patch", "width"), [(24, 40, 8, 24), (28, 56, 14, 18)]
)
def test_every_head_at_every_size_learns(
    head: str, template: int, search: int, patch: int, width: int
) -> None:
    vit = dataclasses.replace(SMALL.backbone, patch=patch, width=width)
    model = with_head(head, template=Crop(template, 2.0), search=Crop(search, 4.0), backbone=vit)
    torch.manual_seed(0)
    network = Network(model, 5)
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    template_b3hw, box, searches = make_inputs(model, t=2)
    totals = []
    for _ in range(6):
        losses = [
            compute_losses(p, TRUTH, torch.tensor([0, 3]), 1.0)
            for p in network(template_b3hw, box, searches)
        ]
        total = torch.stack([frame.total for frame in losses]).sum()
        optimiser.zero_grad()
        total.backward()
        assert all(p.grad is not None for p in network.parameters())
        optimiser.step()
        totals.append(float(total.detach()))
    assert totals[-1] < totals[0]
    assert (losses[0].location > 0) == (head == "centre")  # only maps of scores have that loss


@pytest.mark.parametrize("head", HEADS)
def test_every_head_tracks(head: str) -> None:
    tracker = Tracker(Network(with_head(head), 5), Track(), streams=2)
    frames = np.random.default_rng(0).integers(0, 256, (6, 60, 80, 3)).astype(np.uint8)
    for stream, x in enumerate((20, 40)):
        tracker.start(stream, frames[0], np.array([x, 20, 16, 12]))
    tracker.step([0], [frames[1]])  # from here on one stream reads its memory, one the template
    for frame in frames[2:]:
        for result in tracker.step([0, 1], [frame, frame]):
            assert np.isfinite(result.box_xywh).all()
            assert (result.box_xywh[2:] > 0).all()
            assert np.isnan(result.confidence) if head == "mlp" else 0 < result.confidence <= 1


def peak(row: int, column: int) -> Tensor:
    """A map whose whole mass lies in one cell."""
    map_bgg = torch.zeros(1, 4, 4)
    map_bgg[0, row, column] = 1
    return map_bgg


def test_a_corner_lies_in_the_middle_of_its_cell_or_at_its_edge_in_compat_mode() -> None:
    assert CornerHead(8, 8).expect(peak(1, 2)).tolist() == [[2.5 / 4, 1.5 / 4]]
    assert CornerHead(8, 8, compat=True).expect(peak(1, 2)).tolist() == [[2 / 4, 1 / 4]]


def test_corners_in_the_wrong_order_still_span_a_box(monkeypatch: pytest.MonkeyPatch) -> None:
    head = CornerHead(8, 8)
    monkeypatch.setattr(head, "weigh", lambda _: (peak(3, 3), peak(1, 0)))
    boxes, score = head(torch.zeros(1, 8, 4, 4))
    torch.testing.assert_close(boxes, torch.tensor([[0.5, 0.625, 0.75, 0.5]]))
    assert score.tolist() == [1]


def test_a_window_moves_the_choice_of_maps_only() -> None:
    score = torch.full((1, 3, 3), 0.1)
    score[0, 0, 0], score[0, 1, 1] = 0.9, 0.8
    maps = Maps(score, torch.full((1, 2, 3, 3), 0.5), torch.zeros(1, 2, 3, 3))
    window = torch.tensor([[0.1, 0.1, 0.1], [0.1, 1, 0.1], [0.1, 0.1, 0.1]])
    box, confidence = decode(maps, window)
    torch.testing.assert_close(box, torch.tensor([[1 / 3, 1 / 3, 0.5, 0.5]]))
    assert float(confidence) == pytest.approx(0.8)
    found = Boxes(torch.rand(1, 4), torch.ones(1))
    assert decode(found, window) is found


def test_the_mlp_head_begins_with_a_box_inside_the_crop() -> None:
    boxes, _ = MlpHead(8, 8)(torch.randn(3, 8, 4, 4))
    assert ((boxes > 0) & (boxes < 1)).all()


@pytest.mark.parametrize("pool", ["survivors", "all", "fused", "box"])
def test_the_class_head_pools_what_it_is_told(pool: str) -> None:
    """Against the mean of the chosen tokens written out."""
    network = Network(pool_over(pool), 5).eval()
    template, box, searches = make_inputs(SMALL, t=1)
    pooled: list[Tensor] = []
    enhanced: list[Tensor] = []
    network.get_submodule("class_head.hidden").register_forward_hook(
        lambda _, given, __: pooled.append(given[0])
    )
    network.history.fuse.register_forward_hook(lambda *given: enhanced.append(given[-1]))
    with torch.no_grad():
        (said,) = network(template, box, searches)
        features = network.backbone(template, searches[:, 0])
    tokens, alive = features.search_bxc, features.alive_bx[..., None]
    covered = cover_cells(said.boxes_cxcywh, features.alive_bx)[..., None]
    expected = {
        "survivors": (tokens * alive).sum(1) / alive.sum(1),
        "all": tokens.mean(1),
        "fused": enhanced[0].mean((2, 3)),
        "box": (tokens * covered).sum(1) / covered.sum(1),
    }
    torch.testing.assert_close(pooled[0], expected[pool])


def test_the_class_head_pools_under_the_true_box_where_it_is_told() -> None:
    network = Network(pool_over("box"), 5).eval()
    template, box, searches = make_inputs(SMALL, t=2)
    targets = torch.tensor([[0.1, 0.2, 0.5, 0.4], [0.4, 0.3, 0.3, 0.6]]).expand(len(template), 2, 4)
    pooled: list[Tensor] = []
    network.get_submodule("class_head.hidden").register_forward_hook(
        lambda _, given, __: pooled.append(given[0])
    )
    with torch.no_grad():
        told = network(template, box, searches, targets_xywh=targets)
        untold = network(template, box, searches)
        features = [network.backbone(template, searches[:, i]) for i in range(2)]
    true_cxcywh = torch.tensor([[0.35, 0.4, 0.5, 0.4], [0.55, 0.6, 0.3, 0.6]])
    for i, seen in enumerate(features):
        covered = cover_cells(true_cxcywh[[i]].expand(len(template), 4), seen.alive_bx)[..., None]
        expected = (seen.search_bxc * covered).sum(1) / covered.sum(1)
        torch.testing.assert_close(pooled[i], expected)
        torch.testing.assert_close(told[i].boxes_cxcywh, untold[i].boxes_cxcywh)


def test_a_box_covers_parts_of_cells_that_survived() -> None:
    alive = torch.tensor([[True] * 3 + [False] + [True] * 12])
    covered = cover_cells(torch.tensor([[0.75, 0.25, 0.5, 0.25]]), alive).view(4, 4)
    # x from 2 to 4 cells, y from 0.5 to 1.5: half of the cells of two rows, one of them gone
    assert covered.tolist() == [[0, 0, 0.5, 0], [0, 0, 0.5, 0.5], [0] * 4, [0] * 4]


def test_where_a_box_covers_no_survivor_all_of_them_count() -> None:
    alive = torch.tensor([[True, False, False, True]])
    assert cover_cells(torch.tensor([[5.0, 5, 1, 1]]), alive).tolist() == [[1, 0, 0, 1]]


def test_pooling_over_survivors_does_not_depend_on_how_many_there_are() -> None:
    """The quirk of the reference: eliminated zeros thin the mean out."""
    weak = Elimination((2,), (0.25,))  # 4 of 16 tokens stay
    thin = dataclasses.replace(SMALL, elimination=weak, reference_compat=("pooling",))
    torch.manual_seed(0)
    quirky = Network(thin, 5).eval()
    right = Network(dataclasses.replace(thin, reference_compat=False), 5).eval()
    right.load_state_dict(quirky.state_dict())
    pooled: list[Tensor] = []
    for network in (quirky, right):
        network.get_submodule("class_head.hidden").register_forward_hook(
            lambda _, given, __: pooled.append(given[0])
        )
        with torch.no_grad():
            network(*make_inputs(SMALL, t=1))
    torch.testing.assert_close(4 * pooled[0], pooled[1])


def test_the_fusion_variant_cannot_wait_for_the_box() -> None:
    with pytest.raises(ConfigError, match="the class comes before the box"):
        pool_over("box", variant="fusion")
