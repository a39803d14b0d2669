"""Gradient noise, from Gramians alone.

Let R independent sub-batches (the micro-batches of all ranks) have Jacobians J_r, and J̄ be their
mean. Two (K, K) matrices hold all that is needed: A = J̄ J̄ᵀ and B = (1/R) Σ_r J_r J_rᵀ.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def unbiased_gramian(
    mean_gramian: Float[Tensor, "K K"],
    sub_batch_gramian: Float[Tensor, "K K"],
    count: Float[Tensor, "K K"] | float,
) -> Float[Tensor, "K K"]:
    """The inner products of the expected gradients, E[g_i] · E[g_j], without the noise's share.

    (R A - B) / (R - 1): the mean of g_ir · g_js over sub-batches r ≠ s. Unbiased, hence it may have
    negative eigenvalues: for diagnostics, not for solvers.

    Args:
        mean_gramian: A.
        sub_batch_gramian: B.
        count: R, at least 2; where tasks are absent from some sub-batches, a number for each pair.
    """
    return (count * mean_gramian - sub_batch_gramian) / (count - 1)


def noise_trace(
    mean_gramian: Float[Tensor, "K K"],
    sub_batch_gramian: Float[Tensor, "K K"],
    count: float,
    samples: float,
) -> Float[Tensor, " K"]:
    """The variance of one sample's gradient, tr Σ_k, for each task.

    b (B_kk - A_kk) R / (R - 1) with b samples in a sub-batch: McCandlish, Kaplan, Amodei et al.,
    "An Empirical Model of Large-Batch Training", arXiv 1812.06162 (2018), appendix A.1.
    """
    spread = (sub_batch_gramian - mean_gramian).diagonal()
    return samples * spread * count / (count - 1)


def noise_scale(
    trace: Float[Tensor, " K"], squared_norm: Float[Tensor, " K"]
) -> Float[Tensor, " K"]:
    """B_simple = tr Σ / |G|²: the batch size at which noise and signal are equal (ibid., eq. 2.9).

    Average both over steps before dividing. Infinite where no signal is left.
    """
    signal = squared_norm.clamp(min=0)
    return torch.where(signal > 0, trace.clamp(min=0) / signal, torch.inf)


def cosines(gramian: Float[Tensor, "K K"]) -> Float[Tensor, "K K"]:
    """cos(g_i, g_j), in [-1, 1]; 0 where a gradient is zero."""
    norm = gramian.diagonal().clamp(min=0).sqrt()
    scale = torch.outer(norm, norm)
    return torch.where(scale > 0, gramian / scale.where(scale > 0, 1), 0.0).clamp(-1, 1)


def conflict_rate(gramian: Float[Tensor, "K K"]) -> Float[Tensor, ""]:
    """The share of task pairs whose gradients have a negative inner product; 0 for one task."""
    tasks = len(gramian)
    pairs = tasks * (tasks - 1)
    return (gramian < 0).sum().to(gramian) / max(pairs, 1)


def magnitude_similarity(gramian: Float[Tensor, "K K"]) -> Float[Tensor, "K K"]:
    """2 |g_i| |g_j| / (|g_i|² + |g_j|²), 1 for equal lengths (Yu et al., NeurIPS 2020, def. 2)."""
    square = gramian.diagonal().clamp(min=0)
    product = torch.outer(square.sqrt(), square.sqrt())
    total = square[:, None] + square
    return torch.where(total > 0, 2 * product / total.where(total > 0, 1), 1.0)


def itgn_ratio(gramian: Float[Tensor, "K K"], weights: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
    """The inter-task gradient noise of each task, in units of its gradient.

    ||Σ_{j≠i} w_j g_j|| / ||w_i g_i||, with ITGN in the words of Fan et al. (ACCV 2022); infinite
    for a task without gradient or weight.
    """
    weighted = gramian * torch.outer(weights, weights)
    squares = weighted.diagonal()
    others = weighted.sum() - 2 * weighted.sum(1) + squares
    ratio = (others.clamp(min=0) / squares.where(squares > 0, 1)).sqrt()
    return torch.where(squares > 0, ratio, torch.inf)


def average_overlap(beta: float, steps: Float[Tensor, ""] | float) -> float | Tensor:
    """Σ a_t², the squared weights of a bias-corrected exponential average after `steps` steps.

    rho = (1 - beta)(1 + beta^t) / ((1 + beta)(1 - beta^t)): the share of one step's noise that is
    left in the square of the average.
    """
    decay = beta**steps
    return (1 - beta) * (1 + decay) / ((1 + beta) * (1 - decay))


def signal_gramian(
    average: Float[Tensor, "K K"], second_moment: Float[Tensor, "K K"], overlap: Tensor | float
) -> Float[Tensor, "K K"]:
    """M_jk = E[g_j] · E[g_k], from averaged gradients whose own noise is taken off.

    (M_avg - rho S) / (1 - rho), its diagonal kept in [1e-3, 1 - 1e-3] of that of S.

    Args:
        average: the Gramian of the averaged gradients, M_avg.
        second_moment: S_jk = E[g_j · g_k].
        overlap: rho, see `average_overlap`; below 1.
    """
    signal = (average - overlap * second_moment) / (1 - overlap)
    total = second_moment.diagonal()
    # Scale rows and columns to the clamped diagonal, so that cosines stay as estimated.
    wanted = signal.diagonal().clamp(min=1e-3 * total, max=(1 - 1e-3) * total)
    estimated = signal.diagonal().clamp(min=torch.finfo(signal.dtype).tiny)
    factor = torch.where(signal.diagonal() > 0, (wanted / estimated).sqrt(), 0.0)
    scaled = signal * torch.outer(factor, factor)
    return scaled - torch.diag(scaled.diagonal()) + torch.diag(wanted)


def gradient_to_noise(
    weights: Float[Tensor, " K"],
    signal: Float[Tensor, "K K"],
    covariance: Float[Tensor, "K K"],
) -> Float[Tensor, " K"]:
    """GNR_i(w) = ||w_i m_i||² / (wᵀ C w + ||Σ_{j≠i} w_j m_j||²).

    The gradient of task i against the minibatch noise of the whole update and the mean pull of the
    other tasks; our formulation of Fan et al. (ACCV 2022).

    Args:
        weights: w.
        signal: M_jk = m_j · m_k, positive semi-definite.
        covariance: C = S - M of the noise, positive semi-definite.
    """
    weighted = signal * torch.outer(weights, weights)
    squares = weighted.diagonal()
    others = (weighted.sum() - 2 * weighted.sum(1) + squares).clamp(min=0)
    noise = weights @ covariance @ weights + others
    return squares / noise.clamp(min=torch.finfo(noise.dtype).tiny)


def nearest_psd(matrix: Float[Tensor, "K K"]) -> Float[Tensor, "K K"]:
    """The matrix with its negative eigenvalues set to zero."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    return (vectors * values.clamp(min=0)) @ vectors.T
