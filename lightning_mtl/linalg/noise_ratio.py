"""The weights that maximise the gradient-to-noise ratios of all tasks."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Objective = Literal["product", "min"]

RESIDUAL = 1e-8
"""Norm of the gradient in log w at which the search ends."""

SIGNAL = 1e-12
"""The smallest share of a task's power that counts as signal: all noise is a limit, not a case."""

RIDGE = 1e-9
"""Noise of each task's own that cancels with no other, as a share of its power."""

SHARPNESS = (1.0, 10.0, 100.0, 1000.0)
"""Of the soft minimum, in turn: the last is within log(K) / 1000 of the true one."""


def max_noise_ratio(
    signal: Float[Tensor, "K K"],
    covariance: Float[Tensor, "K K"],
    start: Float[Tensor, " K"],
    objective: Objective = "product",
) -> Float[Tensor, " K"]:
    """The w > 0, Σ w = K, that maximises Σ_i log GNR_i(w) ("product") or its minimum ("min").

    GNR_i(w) = w_i² M_ii / (wᵀ A_i w) with A_i = C + (M without row and column i). In u = log w by
    Newton's method with Levenberg's damping; the ratios do not change under w -> c w, which the
    damping leaves alone. A task without any gradient has the weight 1, the others are solved as if
    it were not there; signals below `SIGNAL` of a task's power count as that much.

    Args:
        signal: M, positive semi-definite.
        covariance: C, positive semi-definite.
        start: positive weights to start from, the last ones say.
        objective: what to maximise.
    """
    power = signal.diagonal() + covariance.diagonal()
    heard = (power > 0).nonzero().flatten()
    weights = torch.ones_like(start)
    if len(heard) > 1:
        pair = (heard[:, None], heard)
        scale = torch.maximum(signal.diagonal(), SIGNAL * power)[heard].sqrt()
        solution = _solve(signal[pair], covariance[pair], start[heard], scale, objective)
        weights[heard] = solution * (len(heard) / solution.sum())
    return weights


def _solve(
    signal: Tensor, covariance: Tensor, start: Tensor, scale: Tensor, objective: Objective
) -> Tensor:
    # In units of the tasks' own signals, so that gradients of any size give a problem of size 1.
    unit = torch.outer(scale, scale)
    size = len(start)
    without = torch.ones(size, size, size, dtype=signal.dtype, device=signal.device)
    index = torch.arange(size, device=signal.device)
    without[index, index, :] = 0
    without[index, :, index] = 0
    noise = covariance / unit + without * (signal / unit)
    # Where gradients cancel exactly, a ratio is infinite, and nothing could be told of the others.
    noise = noise + RIDGE * torch.diag_embed(noise.diagonal(dim1=1, dim2=2))
    logits = (start * scale).log()
    for sharpness in SHARPNESS if objective == "min" else (None,):
        logits = _ascend(noise, logits - logits.mean(), sharpness)
    logits = logits - scale.log()
    return (logits - logits.max()).exp()


def _ascend(noise: Float[Tensor, "K K K"], logits: Tensor, sharpness: float | None) -> Tensor:
    damping = 1e-6
    value, gradient, curvature = _objective(noise, logits, sharpness)
    eye = torch.eye(len(logits), dtype=logits.dtype, device=logits.device)
    for _ in range(100):
        if float(gradient.norm()) < RESIDUAL or damping > 1e12:
            break
        # All logits may move together; filled up there, and shifted until it is positive definite,
        # it gives an ascent direction wherever the surface is bent.
        filled = curvature + curvature.diagonal().max().clamp(min=1) / len(logits)
        factor, info = torch.linalg.cholesky_ex(filled + damping * eye)
        if int(info):
            lowest = float(torch.linalg.eigvalsh(filled)[0])
            shift = damping + max(0.0, 1e-6 - lowest)
            factor, _ = torch.linalg.cholesky_ex(filled + shift * eye)
        step = torch.cholesky_solve(gradient.unsqueeze(1), factor).squeeze(1)
        step = step * min(1.0, 2.0 / float(step.abs().max()))
        moved = _objective(noise, logits + step, sharpness)
        if float(moved[0]) >= float(value) - 1e-14 * abs(float(value)):
            logits = logits + step
            value, gradient, curvature = moved
            damping = max(damping / 10, 1e-12)
        else:
            damping = max(damping * 10, 1e-6)
    return logits


def _objective(
    noise: Float[Tensor, "K K K"], logits: Float[Tensor, " K"], sharpness: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Value, gradient and negative Hessian in u of the sum, or of the soft minimum, of log GNR."""
    size = len(logits)
    weights = logits.exp()
    pull = noise @ weights * weights  # (i, k): w_k (A_i w)_k
    total = pull.sum(1).clamp(min=torch.finfo(logits.dtype).tiny)
    share = pull / total[:, None]
    ratios = 2 * logits - total.log()
    slopes = 2 * torch.eye(size, dtype=logits.dtype, device=logits.device) - 2 * share
    if sharpness is None:
        mix = torch.ones_like(logits)
        value = ratios.sum()
    else:
        mix = torch.softmax(-sharpness * ratios, 0)
        value = -torch.logsumexp(-sharpness * ratios, 0) / sharpness
    gradient = mix @ slopes
    # Σ_i mix_i of the Hessians, w_k w_l A_i / total_i and what the logarithm takes off.
    quadratic = ((mix / total) @ noise.flatten(1)).view(size, size) * torch.outer(weights, weights)
    weighted = mix[:, None] * share
    curvature = 2 * quadratic + torch.diag(2 * weighted.sum(0)) - 4 * weighted.T @ share
    if sharpness is not None:
        spread = (mix[:, None] * slopes).T @ slopes
        curvature = curvature + sharpness * (spread - torch.outer(gradient, gradient))
    return value, gradient, curvature
