"""Systems of unit rows, some of which may depend on each other."""

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.linalg.on_device.cosines import cosines_and_norms
from lightning_mtl.linalg.rounding import dependence

SIGN_STEPS = 10
"""Each brings an eigenvalue of X closer to its sign, by half of it at first, then quadratically:
those of C that are a quarter beside the threshold are told apart."""


def solve_units(
    gramian: Float[Tensor, "K K"], right: Float[Tensor, " K"]
) -> tuple[Float[Tensor, " K"], Float[Tensor, " K"]]:
    """C⁺ right, by the eigenvalues of C that are not rounding; and the norms of the rows."""
    cosines, norms = cosines_and_norms(gramian)
    identity, onto = range_of(cosines, dependence(gramian))
    # Across the range, where C is rounding, it becomes the identity.
    filled = cosines + (identity - onto)
    inside = torch.mv(onto, right.double())
    return onto @ torch.linalg.solve_ex(filled, inside).result, norms


def range_of(
    matrix: Float[Tensor, "K K"], threshold: float
) -> tuple[Float[Tensor, "K K"], Float[Tensor, "K K"]]:
    """The identity, and the projection onto the eigenvectors of larger eigenvalues than threshold.

    It is (I + sign(C - τ I)) / 2, where (C - τ I) (C + τ I)⁻¹ is nearly the sign already, and the
    iteration of Newton and Schulz does the rest: Higham, "Functions of Matrices", 2008, section
    5.3. Products of matrices in place of the rotations that eigenvectors take.
    """
    identity = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    inverse = torch.linalg.inv_ex(torch.add(matrix, identity, alpha=threshold)).inverse
    sign = torch.sub(identity, inverse, alpha=2 * threshold)
    for _ in range(SIGN_STEPS):
        sign = torch.addmm(sign, sign, sign @ sign, beta=1.5, alpha=-0.5)
    return identity, (identity + sign) / 2
