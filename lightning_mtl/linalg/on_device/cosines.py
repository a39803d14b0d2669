"""Gramians of unit rows."""

from jaxtyping import Float
from torch import Tensor


def cosines_and_norms(
    gramian: Float[Tensor, "K K"],
) -> tuple[Float[Tensor, "K K"], Float[Tensor, " K"]]:
    """C and n with G = diag(n) C diag(n); a zero row has norm 1 and a zero row of C."""
    matrix = gramian.double()
    norms = matrix.diagonal().clamp(min=0).sqrt()
    zero = norms == 0
    norms = norms.masked_fill(zero, 1.0)
    cosines = (matrix / norms.unsqueeze(1) / norms).clamp_(-1.0, 1.0)
    cosines.diagonal().fill_(1.0)
    return cosines.masked_fill_(zero | zero.unsqueeze(1), 0.0), norms
