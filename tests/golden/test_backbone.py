"""The ViT, candidate elimination and position embeddings, as the reference computes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from trackline.models.backbone import Backbone, Features, template_rows
from trackline.models.weights import resize_positions

if TYPE_CHECKING:
    from tests.golden.conftest import Golden


def build(data: Golden, **elimination: Any) -> Backbone:
    """The backbone of a file with its weights."""
    model = data.architecture()
    model = replace(model, elimination=replace(model.elimination, **elimination))
    backbone = Backbone(model).eval()
    missing, _ = backbone.load_state_dict(data.part("backbone."), strict=False)
    assert not missing
    return backbone


def run(data: Golden, backbone: Backbone, **options: Any) -> Features:
    with torch.inference_mode():
        features: Features = backbone(data["z"], data["x"], **options)
    return features


def joined(features: Features) -> Tensor:
    return torch.cat((features.template_bzc, features.search_bxc), dim=1)


def test_joint_tokens_without_elimination(golden: Callable[[str], Golden]) -> None:
    data = golden("vit_plain")
    data.agree("y", joined(run(data, build(data))))


def test_temporal_vectors(golden: Callable[[str], Golden]) -> None:
    data = golden("vit_ce")
    data.agree("noce.y", joined(run(data, build(data), keep=1.0)))


@pytest.mark.parametrize(
    ("run_name", "rows", "mask", "keep"),
    [
        ("ce_all", "all", None, None),
        ("ce_ctr", "centre", "mask_ctr", None),
        ("ce_rect", "centre_square", "mask_rect", None),
        ("ce_rect", "box", "mask_rect", None),  # any rows, given as a mask
        ("ce_ctr_rate85", "centre", "mask_ctr", 0.85),
    ],
)
def test_elimination(
    golden: Callable[[str], Golden], run_name: str, rows: str, mask: str | None, keep: float | None
) -> None:
    data = golden("vit_ce")
    backbone = build(data, rows=rows)
    marked = None if mask is None else data[mask].bool()
    if (
        rows != "box"
        and marked is not None
        and marks(marked) != template_rows(rows, backbone.grid_z)
    ):
        pytest.skip(f"{mask} of {data.path} marks other rows than {rows!r}")
    data[f"{run_name}.y"]
    scores = watch_scores(backbone)
    features = run(data, backbone, rows_bz=marked, keep=keep)
    check_removed(data, run_name, features)
    check_scores(data, run_name, features, scores)
    data.agree(f"{run_name}.y", joined(features))


def marks(mask_bz: Tensor) -> list[int]:
    return mask_bz[0].nonzero()[:, 0].tolist()


def watch_scores(backbone: Backbone) -> list[Tensor]:
    """Collect the scores that candidates are ranked by."""
    scores: list[Tensor] = []
    rank = backbone._rank

    def watched(*arguments: Any) -> Tensor:
        scores.append(rank(*arguments))
        return scores[-1]

    backbone._rank = watched  # type: ignore[method-assign, assignment]
    return scores


def check_removed(data: Golden, run_name: str, features: Features) -> None:
    """The same tokens go, whatever their order."""
    before = torch.ones_like(features.alive_bx)
    for layer, ids in enumerate(features.survivors):
        after = torch.zeros_like(before).scatter(1, ids, True)
        removed = torch.zeros_like(before)
        removed.scatter_(1, data[f"{run_name}.removed_{layer}"].long(), True)
        data.agree(removed, before & ~after, 0, f"{run_name}.removed_{layer}")
        before = after


def check_scores(data: Golden, run_name: str, features: Features, scores: list[Tensor]) -> None:
    """The same score for each token that was still there."""
    everyone = torch.arange(features.alive_bx.shape[1]).expand_as(features.alive_bx)
    for layer, ids in enumerate((everyone, *features.survivors[:-1])):
        expected = data[f"{run_name}.score_{layer}"].gather(1, ids)
        data.agree(expected, scores[layer], name=f"{run_name}.score_{layer}")


def test_positions_are_resized(golden: Callable[[str], Golden]) -> None:
    data = golden("pos_embed")
    keys = [key for key in data.tensors if key.startswith(("pos_embed_z_", "pos_embed_x_"))]
    for key in keys:
        resized = resize_positions(data["pos_embed"], round(data[key].shape[1] ** 0.5))
        data.agree(key, resized)
