"""Singular values by rotations, all disjoint pairs of columns at once."""

import torch
from jaxtyping import Float
from torch import Tensor

TINY = 1e-300
"""Added to a difference of squares, so that two columns of zeros have an angle."""


def orthogonal_columns(matrix: Float[Tensor, "K n"]) -> Float[Tensor, "K n"]:
    """A W with an orthogonal W, such that its columns are orthogonal: A Aᵀ stays as it is.

    Their norms are the singular values of A, in no order, and their directions its left singular
    vectors. Hestenes, "Inversion of matrices by biorthogonalization and related results", Journal
    of SIAM 1958; pairs in the order of a tournament, Brent & Luk, SIAM J. Sci. Stat. Comput. 1985.

    Args:
        matrix: A, of moderate size; an even number of columns.
    """
    count = matrix.shape[1]
    half = count // 2
    moved = _next_pairs(torch.eye(count, dtype=matrix.dtype, device=matrix.device))
    swapped = torch.cat([moved[half:], moved[:half]])
    tiny = matrix.new_full((half,), TINY)
    halves = torch.cat([matrix.new_full((1, 1), 0.5), matrix.new_full((1, 1), -0.5)])
    for _ in range(sweeps(count) * (count - 1)):
        products = matrix.mT @ matrix
        squares = products.diagonal()
        half_difference = torch.add(tiny, squares[half:] - squares[:half], alpha=0.5)
        angles = (halves * (products.diagonal(half) / half_difference).atan_()).view(-1, 1)
        # The rotation, and the change of places after it.
        rotation = torch.addcmul(angles.cos() * moved, angles.sin(), swapped)
        matrix = matrix @ rotation
    return matrix


def sweeps(count: int) -> int:
    """How often every pair of columns meets: one more than norms over six decades have needed.

    Convergence is quadratic in the end: 4, 5 and 7 for 4, 6 and 8 columns.
    """
    return 2 + 3 * count // 4


def _next_pairs(columns: Tensor) -> Tensor:
    """The columns in their next places: column i of the first half meets that of the second.

    The first one stays, and all others move on by one place around a table.
    """
    half = columns.shape[1] // 2
    if half == 1:
        return columns
    first, second = columns[:, :half], columns[:, half:]
    order = (first[:, :1], second[:, :1], first[:, 1:-1], second[:, 1:], first[:, -1:])
    return torch.cat(order, 1)
