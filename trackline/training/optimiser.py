"""What steps the weights: AdamW for all of them, or Muon for matrices and kernels, AdamW for the rest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from trackline.config import Train
from trackline.models.network import Network

# of five Newton–Schulz iterations a + b·s² + c·s⁴ on singular values s (Jordan et al., modded-nanogpt, 2024)
QUINTIC = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)
MOMENTUM = 0.95


def make_optimiser(network: Network, config: Train) -> torch.optim.Optimizer:
    """AdamW or Muon; the backbone has its own rate, biases and norms are not decayed."""
    muon = config.optimiser == "muon"
    groups: dict[tuple[bool, bool, bool], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            shared, decayed = name.startswith("backbone."), parameter.dim() > 1
            groups[shared, decayed, muon and is_matrix(parameter)].append(parameter)
    described = [
        {
            "params": parameters,
            "orthogonal": orthogonal,
            "base_lr": rate * (config.backbone_lr_scale if shared else 1),
            # a step decays by rate × weight_decay: as much whichever rate it is
            "weight_decay": config.weight_decay * config.lr / rate if decayed else 0.0,
        }
        for (shared, decayed, orthogonal), parameters in groups.items()
        for rate in [config.muon_lr if orthogonal else config.lr]
    ]
    if muon:
        return Muon(described, betas=(0.9, 0.95))
    return torch.optim.AdamW(described, fused=True)


def is_matrix(parameter: Tensor) -> bool:
    """Whether a weight maps between two spaces, none of them tiny; tables of positions do not."""
    if parameter.dim() < 2 or 1 in parameter.shape[:2]:
        return False
    small, large = sorted(parameter.flatten(1).shape)
    return small >= 4 and large <= 128 * small


class Muon(torch.optim.Optimizer):
    """Muon for groups marked `orthogonal` (Jordan et al., 2024), AdamW for the others.

    Nesterov's momentum; a step is √(rows/columns) long, at least 1. Matrices of one shape are
    orthogonalised together, in float32, which CPUs multiply faster than bfloat16: a step of the default size
    takes 45 ms of a core and not the 137 of timm's, which goes through them one by one.
    """

    def __init__(self, groups: list[dict[str, Any]], betas: tuple[float, float]) -> None:
        super().__init__(groups, {"lr": 0.02, "betas": betas, "fused": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Take one step with the gradients at hand."""
        assert closure is None
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            gradients = [p.grad for p in weights]
            if group["orthogonal"]:
                self._step_matrices(group, weights, gradients)
            else:
                self._step_rest(group, weights, gradients)

    def _step_rest(
        self, group: dict[str, Any], weights: list[Tensor], gradients: list[Tensor]
    ) -> None:
        for p in weights:
            if not self.state[p]:
                zeros = {"exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
                self.state[p] = {"step": torch.zeros((), device=p.device), **zeros}
        means, squares, steps = (
            [self.state[p][name] for p in weights] for name in ("exp_avg", "exp_avg_sq", "step")
        )
        (beta1, beta2), rate, decay = (group[k] for k in ("betas", "lr", "weight_decay"))
        adamw(
            weights, gradients, means, squares, [], steps, fused=True, amsgrad=False, maximize=False,
            lr=rate, weight_decay=decay, beta1=beta1, beta2=beta2, eps=1e-8,
        )  # fmt: skip

    def _step_matrices(
        self, group: dict[str, Any], weights: list[Tensor], gradients: list[Tensor]
    ) -> None:
        for p in weights:
            self.state[p].setdefault("momentum", torch.zeros_like(p))
        momenta = [self.state[p]["momentum"] for p in weights]
        torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
        torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
        alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for i, p in enumerate(weights):
            alike[p.flatten(1).shape].append(i)
        for (rows, columns), members in alike.items():
            wanted, fresh = (
                torch.stack([each[i].flatten(1) for i in members]) for each in (momenta, gradients)
            )
            updates = orthogonalise(wanted.lerp_(fresh, 1 - MOMENTUM))
            rate = -group["lr"] * max(1.0, rows / columns) ** 0.5
            for i, update in zip(members, updates, strict=True):
                weights[i].add_(update.view_as(weights[i]), alpha=rate)


def orthogonalise(matrices_bmn: Tensor) -> Tensor:
    """Bring all singular values of matrices near 1, by Newton and Schulz's iteration.

    Each iteration multiplies X by a polynomial of its Gram matrix X·Xᵀ. All of them commute, so they
    are multiplied with one another, each as small as the shorter side, and only their product with X.
    """
    if matrices_bmn.shape[1] > matrices_bmn.shape[2]:
        return orthogonalise(matrices_bmn.mT).mT
    gram_bmm = matrices_bmn @ matrices_bmn.mT
    square_b = gram_bmm.diagonal(dim1=1, dim2=2).sum(1).clamp(min=1e-14)[:, None, None]
    gram_bmm = gram_bmm / square_b  # no singular value is above the root of the sum of squares
    product_bmm = factor_bmm = None
    for a, b, c in QUINTIC:
        if factor_bmm is not None:
            gram_bmm = factor_bmm @ gram_bmm @ factor_bmm
        factor_bmm = torch.baddbmm(gram_bmm, gram_bmm, gram_bmm, beta=b, alpha=c)
        factor_bmm.diagonal(dim1=1, dim2=2).add_(a)
        product_bmm = factor_bmm if product_bmm is None else factor_bmm @ product_bmm
    assert product_bmm is not None
    return (product_bmm / square_b.sqrt()) @ matrices_bmn
