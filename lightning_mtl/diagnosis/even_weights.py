r"""Fixed weights that even out the averaged gradients of the tasks.

With w on the diagonal of D, D S D is the Gramian of the weighted averaged gradients. Its condition
number is 1 where they are orthogonal and equally long; the larger it is, the more the sum hides of
some combination of the tasks. Scaling to a unit diagonal, w_k = 1 / |G_k|, is within a factor of K
of the smallest possible (van der Sluis, "Condition numbers and equilibration of matrices",
Numerische Mathematik 1969), and for two tasks it is the smallest. For more, the rest is found
numerically: the problem is quasi-convex in D⁻² (Boyd, El Ghaoui, Feron and Balakrishnan, "Linear
Matrix Inequalities in System and Control Theory", SIAM 1994, section 3.1), so that no local minimum
is in the way.
"""

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

from lightning_mtl.diagnosis.gradients import GradientSeries
from lightning_mtl.linalg.gradient_noise import nearest_psd

LEAST_SIGNAL = 0.01
"""A gradient of which less is signal is taken to have this part: noise has no direction."""

RIDGE = 1e-3
"""What is mixed into cosines of the identity, so that opposite gradients have a finite answer."""

SHARPNESS = (4.0, 16.0, 64.0, 256.0)
"""Exponents of the norms that stand in for the extreme eigenvalues, one after the other."""


def averaged_gramian(series: GradientSeries) -> Float[np.ndarray, "K K"]:
    """S, the products of averaged gradients over a run in which they shrink.

    The norm of a task is √ρ_k times the geometric mean of its measured norms, and products are by
    the averaged cosines: every step counts alike, as it would not in averages of the products.

    Args:
        series: of all tasks.
    """
    correlation = np.nanmean(series.correlations, axis=0)
    signal = correlation.diagonal().clip(LEAST_SIGNAL, 1)
    cosines = (correlation / np.sqrt(np.outer(signal, signal))).clip(-1, 1)
    squares = np.where(series.squares > 0, series.squares, np.nan)
    norms = np.sqrt(signal) * np.exp(np.nanmean(np.log(squares), axis=0) / 2)
    np.fill_diagonal(cosines, 1)
    return cosines * np.outer(norms, norms)


def even_weights(gramian: Float[np.ndarray, "K K"], most: float = 100.0) -> Float[np.ndarray, " K"]:
    """The weights, positive and with sum K, for which D S D has the lowest condition number.

    S is made positive semi-definite first. A loss that is multiplied by c gets a weight that is
    divided by c, up to the sum.

    Args:
        gramian: S, with a positive diagonal.
        most: how many times the smallest weight the largest one may be.

    Raises:
        ValueError: if a gradient is zero or not known.

    Example:
        >>> even_weights(np.array([[9.0, 1.0], [1.0, 1.0]]))
        array([0.5, 1.5])
    """
    squares = gramian.diagonal()
    if not (np.isfinite(gramian).all() and (squares > 0).all()):
        raise ValueError(
            "`even_weights(gramian=)` should be finite, with a positive diagonal. Found"
            f" {squares.tolist()} on the diagonal. Leave out tasks without a gradient."
        )
    jacobi = -np.log(squares) / 2
    limit = np.log(most) / 2
    jacobi = (jacobi - (jacobi.max() + jacobi.min()) / 2).clip(-limit, limit)
    logarithms = jacobi
    # Of two tasks, the cosine has no say.
    for sharpness in SHARPNESS if len(squares) > 2 else ():
        found = minimize(
            _spread,
            logarithms,
            args=(_regular(gramian), np.sqrt(squares), sharpness),
            jac=True,
            method="L-BFGS-B",
            bounds=[(-limit, limit)] * len(squares),
        )
        logarithms = found.x
    candidates = [np.exp(each) for each in (jacobi, logarithms)]
    weights = min(candidates, key=lambda each: condition_number(gramian, each))
    return weights * (len(weights) / weights.sum())


def condition_number(
    gramian: Float[np.ndarray, "K K"], weights: Float[np.ndarray, " K"] | None = None
) -> float:
    """The condition number of D S D; of S without weights.

    Args:
        gramian: S, with a positive diagonal.
        weights: on the diagonal of D.
    """
    scale = np.sqrt(gramian.diagonal()) * (1 if weights is None else weights)
    values = np.linalg.eigvalsh(_regular(gramian) * np.outer(scale, scale))
    return float(values[-1] / values[0])


def _regular(gramian: Float[np.ndarray, "K K"]) -> Float[np.ndarray, "K K"]:
    """The cosines, made positive definite."""
    norms = np.sqrt(gramian.diagonal())
    cosines = nearest_psd(torch.from_numpy(gramian / np.outer(norms, norms))).numpy()
    lengths = np.sqrt(cosines.diagonal())
    return (1 - RIDGE) * cosines / np.outer(lengths, lengths) + RIDGE * np.eye(len(norms))


def _spread(
    logarithms: Float[np.ndarray, " K"],
    cosines: Float[np.ndarray, "K K"],
    norms: Float[np.ndarray, " K"],
    sharpness: float,
) -> tuple[float, Float[np.ndarray, " K"]]:
    """A smooth bound on log cond(D S D), and its gradient with respect to log w.

    (1 / p) log Σ λ^p + (1 / p) log Σ λ^-p, which tends to log(λ_max / λ_min) for large p. An
    eigenvalue moves by ∂λ / ∂ log w_k = 2 λ v_k², with its eigenvector v.
    """
    scale = np.exp(logarithms) * norms
    values, vectors = np.linalg.eigh(cosines * np.outer(scale, scale))
    powers = sharpness * np.log(values)
    spread = (logsumexp(powers) + logsumexp(-powers)) / sharpness
    pull = softmax(powers) - softmax(-powers)
    return float(spread), 2 * vectors**2 @ pull
