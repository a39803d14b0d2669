"""The average of z zᵀ over steps, an estimate of the Gramian of the task gradients."""

from jaxtyping import Float
from torch import Tensor, where

DECAY = 0.99
"""Of the average, which then has the variance of n = (1 + β) / (1 - β) = 199 probes.

The cosine of two gradients has a standard deviation of about (1 - cosine²) / √n, and a squared norm
one of √(2 / n), relative to itself.
"""


def updated(
    moment: Float[Tensor, "K K"],
    weight: Float[Tensor, "K K"],
    slopes: Float[Tensor, " K"],
    decay: float = DECAY,
) -> tuple[Float[Tensor, "K K"], Float[Tensor, "K K"]]:
    """The moment and its weight after one more probe; both start at zero, for every pair of tasks.

    A pair whose product is NaN or infinite stays as it is.

    Args:
        moment: the decayed sum of z zᵀ.
        weight: the decayed sum of ones, 1 - βⁿ after n probes that had both tasks of a pair.
        slopes: z, see `lightning_mtl.engine.probing.probe.slopes`.
        decay: β.
    """
    product = slopes.to(moment).outer(slopes.to(moment))
    finite = product.isfinite()
    after = decay * moment + (1 - decay) * product
    return where(finite, after, moment), where(finite, decay * weight + (1 - decay), weight)


def gramian(moment: Float[Tensor, "K K"], weight: Float[Tensor, "K K"]) -> Float[Tensor, "K K"]:
    """The estimate of G, without bias; zero for a pair of tasks that was never probed together.

    It is positive semidefinite while all pairs have the same weight. Where some tasks are absent
    from some probes the pairs differ in their probes, and the least eigenvalues may be negative.
    """
    return moment / where(weight > 0, weight, 1.0)
