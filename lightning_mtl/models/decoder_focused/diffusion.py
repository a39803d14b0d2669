"""Diffusion of features along affinities between pixels, and affinities mixed across tasks."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.checks import check_number

__all__ = ["AffinityMixture", "check_diffusion", "diffuse"]


class AffinityMixture(nn.Module):
    """Σ_k α_k M_k: the affinities of all tasks, weighted for one of them; Σ_k α_k = 1.

    The weights are the softmax of one parameter per task, uniform at first. Rows of M_k that sum to
    one still do so.

    Args:
        tasks: their number.
    """

    def __init__(self, tasks: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(tasks))

    def forward(self, affinities: Sequence[Float[Tensor, "N ..."]]) -> Float[Tensor, "N ..."]:
        """The mixture of as many affinities as there are tasks."""
        weights = self.logits.softmax(0)
        mixture = weights[0] * affinities[0]
        for weight, affinity in zip(weights[1:], affinities[1:], strict=True):
            mixture = mixture + weight * affinity
        return mixture


def diffuse(
    features: Float[Tensor, "N C ..."],
    average: Callable[[Float[Tensor, "N C ..."]], Float[Tensor, "N C ..."]],
    beta: float,
    iterations: int,
) -> Float[Tensor, "N C ..."]:
    """The last of h^{n+1} = β M h^n + (1 - β) F, from h^0 = F on.

    Args:
        features: F.
        average: takes h to M h, the average of each pixel's neighbours by affinity.
        beta: the share of the neighbours, from 0 (the features stay as they are) to 1.
        iterations: how often.
    """
    state = features
    for _ in range(iterations):
        state = beta * average(state) + (1 - beta) * features
    return state


def check_diffusion(owner: str, beta: float, iterations: int, affinity_width: int) -> None:
    """Raise unless the arguments that networks with diffusion have in common are in range."""
    check_number(owner, "beta", beta, 0, 1)
    check_number(owner, "iterations", iterations, 1)
    check_number(owner, "affinity_width", affinity_width, 1)
