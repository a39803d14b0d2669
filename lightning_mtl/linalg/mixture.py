"""How the shares of the tasks in a batch follow their gradients."""

import torch
from jaxtyping import Float
from torch import Tensor


def updated_mixture(
    weights: Float[Tensor, " K"],
    squared_norms: Float[Tensor, " K"],
    variances: Float[Tensor, " K"],
    batch_size: float,
    zeta_1: float,
    zeta_2: float,
) -> Float[Tensor, " K"]:
    r"""w_k exp(ζ_1 ||g_k||² - ζ_2 σ_k² / 2b), scaled to sum to 1.

    Li et al., "PiKE: Adaptive Data Mixing for Large-Scale Multi-Task Learning Under Low Gradient
    Conflicts", NeurIPS 2025. Tasks gain whose gradient is long, and lose whose
    gradient is noisy.

    Args:
        weights: w_k, the shares of the tasks in a batch; one of 0 stays 0.
        squared_norms: ||g_k||² of the expected gradients.
        variances: σ_k² = tr Σ_k of one sample's gradient.
        batch_size: b, samples of all tasks in an optimizer step.
        zeta_1: how much a long gradient counts.
        zeta_2: how much noise counts.

    >>> even, norms = torch.tensor([0.5, 0.5]), torch.tensor([1.0, 3.0])
    >>> updated_mixture(even, norms, torch.zeros(2), 8, zeta_1=0.5, zeta_2=0.5)
    tensor([0.2689, 0.7311])
    """
    exponents = zeta_1 * squared_norms - zeta_2 * variances / (2 * batch_size)
    # The softmax neither overflows nor underflows to a sum of 0.
    return torch.softmax(weights.log() + exponents, 0)
