"""What steps the weights: Muon is timm's, only exact; the rest is AdamW's."""

from __future__ import annotations

import copy

import pytest
import torch
from timm.optim.muon import Muon as TimmMuon
from timm.optim.muon import zeropower_via_newtonschulz
from torch import Tensor

from trackline import config
from trackline.models.network import Network
from trackline.training.optimiser import QUINTIC, is_matrix, make_optimiser, orthogonalise


def draw_gradients(*networks: Network) -> None:
    for parameters in zip(*(network.parameters() for network in networks), strict=True):
        gradient = torch.randn_like(parameters[0])
        for parameter in parameters:
            parameter.grad = gradient.clone()


def start(network: Network, train: config.Train) -> torch.optim.Optimizer:
    optimiser = make_optimiser(network, train)
    for group in optimiser.param_groups:
        group["lr"] = group["base_lr"]
    return optimiser


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 16, 90), (2, 90, 16), (1, 4, 400)])
def test_orthogonalising_is_newton_and_schulz_s_iteration(shape: tuple[int, ...]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = zeropower_via_newtonschulz(matrices, 5, list(QUINTIC), dtype=torch.float64)
    torch.testing.assert_close(orthogonalise(matrices), expected.float(), atol=1e-4, rtol=1e-4)


def test_matrices_of_any_rank_and_size_give_finite_steps() -> None:
    thin = torch.randn(16, 1) @ torch.randn(1, 40)
    for matrix in (thin, thin * 1e-12, thin * 1e8, torch.zeros(16, 40)):
        values = torch.linalg.svdvals(orthogonalise(matrix[None]))
        assert values.isfinite().all()
        assert values.max() < 1.3


def test_muon_agrees_with_timm_s_up_to_its_bfloat16(miniature: config.Params) -> None:
    network = Network(miniature.model, 10)
    theirs = copy.deepcopy(network)
    train = config.Train(optimiser="muon", muon_lr=0.02, weight_decay=0.5, lr=0.002)
    before = {k: p.detach().clone() for k, p in network.named_parameters() if is_matrix(p)}
    matrices = [p for p in theirs.parameters() if is_matrix(p)]
    options = {"nesterov": True, "adjust_lr_fn": "original", "weight_decay": 0.05}
    optimisers = (start(network, train), TimmMuon(matrices, lr=0.02, **options))
    for _ in range(3):
        draw_gradients(network, theirs)
        for optimiser in optimisers:
            optimiser.step()
    for name, old in before.items():
        mine, other = (n.get_parameter(name).detach() - old for n in (network, theirs))
        assert (mine - other).norm() < 0.02 * other.norm(), name


def test_muon_steps_as_far_in_every_direction_of_a_matrix(miniature: config.Params) -> None:
    """The singular values of an orthogonalised update are alike, but for the very smallest."""
    network = Network(miniature.model, 10)
    weight = network.get_parameter("backbone.blocks.0.attn.qkv.weight")
    before = weight.detach().clone()
    draw_gradients(network)
    start(network, config.Train(optimiser="muon", muon_lr=0.02, weight_decay=0)).step()
    values = torch.linalg.svdvals(weight.detach() - before) / (0.02 * 3**0.5)  # √(rows / columns)
    assert values.max() < 1.3
    assert (values > 0.6).float().mean() > 0.8


def test_what_is_no_matrix_is_stepped_by_adamw(miniature: config.Params) -> None:
    network = Network(miniature.model, 10)
    theirs = copy.deepcopy(network)
    mine = start(network, config.Train(optimiser="muon", lr=1e-3, weight_decay=0))
    rest = [p for p in theirs.parameters() if not is_matrix(p)]
    adamw = torch.optim.AdamW(rest, 1e-3, (0.9, 0.95), weight_decay=0)
    for _ in range(2):
        draw_gradients(network, theirs)
        mine.step()
        adamw.step()
    for (name, parameter), other in zip(
        network.named_parameters(), theirs.parameters(), strict=True
    ):
        if not is_matrix(other):
            torch.testing.assert_close(parameter, other, msg=name)


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_every_weight_is_stepped_and_decayed_alike_biases_and_norms_are_not(
    optimiser: str, miniature: config.Params
) -> None:
    train = config.Train(optimiser=optimiser, lr=1e-3, weight_decay=0.1)  # type: ignore[arg-type]
    network = Network(miniature.model, 10)
    made = make_optimiser(network, train)
    stepped: list[Tensor] = []
    for group in made.param_groups:
        stepped += group["params"]
        decay = group["base_lr"] * group["weight_decay"]
        assert {p.dim() > 1 for p in group["params"]} == {bool(decay)}
        assert decay in (0, pytest.approx(1e-3 * 0.1))
    assert {id(p) for p in stepped} == {id(p) for p in network.parameters()}
    assert len(stepped) == len(list(network.parameters()))
