"""Projections onto the dual cone."""

from jaxtyping import Float
from torch import Tensor

from lightning_mtl.linalg.on_device.cosines import cosines_and_norms
from lightning_mtl.linalg.on_device.supports import Supports


def dual_cone(gramian: Float[Tensor, "K K"], targets: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
    """For each target u, the v >= u of least vᵀ G v; in the Gramian's dtype."""
    cosines, norms = cosines_and_norms(gramian)
    targets = targets.double()
    added = Supports(cosines, gramian).minimise((targets * norms) @ cosines.neg())
    return (targets + added / norms).to(gramian)
