"""How targets look to a network: the same for the same data, elsewhere for other targets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from trackline import config
from trackline.data import table
from trackline.data.profile import DIRECTIONS
from trackline.models import embedding
from trackline.models.embedding import draw_directions, embed
from trackline.models.network import Network


@pytest.fixture(scope="module")
def network(miniature: config.Params) -> Network:
    torch.manual_seed(0)
    return Network(miniature.model, 10)


@pytest.fixture(scope="module")
def rows(annotations: Path) -> pd.DataFrame:
    return table.read(annotations)


def test_each_sequence_is_seen_once_and_always_alike(
    network: Network, rows: pd.DataFrame, world: Path
) -> None:
    seen = embed(network, rows, world, "train")
    assert seen.shape == (20, DIRECTIONS)
    assert np.unique(seen, axis=0).shape == seen.shape
    assert np.array_equal(seen, embed(network, rows, world, "train"))


def test_looking_draws_no_random_number_and_leaves_the_weights_alone(
    network: Network, rows: pd.DataFrame, world: Path
) -> None:
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    generator = torch.get_rng_state()
    embed(network, rows, world, "train")
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(v, before[name]) for name, v in network.state_dict().items())


def test_no_more_than_a_sample_is_seen(
    network: Network, rows: pd.DataFrame, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = embed(network, rows, world, "train")
    monkeypatch.setattr(embedding, "CROPS", 5)
    some = embed(network, rows, world, "train")
    assert len(some) == 5
    nearest = np.abs(some[:, None] - whole[None]).max(axis=2).min(axis=1)
    assert nearest.max() < 1e-5  # they are of the same sequences, in another batch


def test_what_cannot_be_read_or_has_no_box_is_left_out(
    network: Network, rows: pd.DataFrame, world: Path
) -> None:
    names = rows.loc[rows["split"] == "train", "sequence"].unique()
    broken = rows.copy()
    broken.loc[broken["sequence"] == names[0], "bytes"] = 0
    broken.loc[broken["sequence"] == names[1], "visible"] = False
    assert len(embed(network, broken, world, "train")) == 18
    assert embed(network, rows.assign(visible=False), world, "train").shape == (0, DIRECTIONS)


def test_directions_are_the_same_for_ever() -> None:
    """Profiles of older versions are compared with; the signs must not change with a library."""
    drawn = draw_directions(4) * 2
    assert np.array_equal(np.abs(drawn), np.ones((4, DIRECTIONS)))
    assert np.packbits(drawn > 0).tobytes().hex() == "535587be"
    assert np.abs(np.corrcoef(draw_directions(4096).T) - np.eye(DIRECTIONS)).max() < 0.1
