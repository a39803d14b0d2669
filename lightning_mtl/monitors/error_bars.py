r"""Intervals of cosines and gradient-to-noise ratios, from several measurements.

What is estimated is a property of the *expected* gradients m_k = E[g_k], not of those of a step,
whose cosines noise pulls towards zero: with products S of independent batches, for which
E[S_ij] = m_i · m_j, and their scaled version C (see `Products`),

    cos_ij = mean C_ij / √(mean C_ii · mean C_jj),
    GNR_i = w_i² mean S_ii / mean(wᵀ Σ w + Σ_{j≠i} Σ_{l≠i} w_j w_l S_jl)

over the measurements, where Σ is the covariance of the noise. Both are ratios of averages, the
cosine after its root is linearised around the averages (the delta method), and have the intervals
of `lightning_mtl.statistics.ratio_interval`.
"""

import numpy as np
from jaxtyping import Float

from lightning_mtl.statistics import Intervals, effective_count, ratio_interval

LEVEL = 0.95
BLOCKS = 15
"""About how many blocks of consecutive measurements are compared where there are many."""

LEAST = 4
"""From measurements, or blocks of them, that count as fewer than this many nothing is concluded."""


def decaying_shares(count: int, decay: float) -> Float[np.ndarray, " n"]:
    """How much each measurement counts in an exponential average, the latest most; they sum to 1.

    Args:
        count: of the measurements.
        decay: of the average; 1 for equal shares.
    """
    powers = decay ** np.arange(count, dtype=float)[::-1]
    return powers / powers.sum()


def block_length(shares: Float[np.ndarray, " n"], least: int) -> int:
    """How many consecutive measurements are taken together, since they depend on each other.

    Args:
        shares: how much each measurement counts.
        least: how many depend on each other in any case.
    """
    count = 1 / (shares**2).sum() if len(shares) else 0.0
    return max(least, int(count / BLOCKS + 1e-9))


def cosine_intervals(
    correlations: Float[np.ndarray, "n K K"],
    decay: float = 1.0,
    level: float = LEVEL,
    least_block: int = 2,
) -> Intervals:
    """The cosine of the expected gradients of each pair of tasks, with its interval, in [-1, 1].

    Where the interval excludes zero, the sign of m_i · m_j is known. A pair that was measured too
    rarely, or one of whose gradients does not stand out from its noise, has an estimate of NaN or
    the interval from -1 to 1.

    Args:
        correlations: C; NaN where a task is absent.
        decay: of the average over the measurements of a pair; 1 for equal shares.
        level: the share of such intervals that hold the true cosine.
        least_block: how many consecutive measurements share a batch.
    """
    tasks = correlations.shape[1]
    mean, low, high = (np.full((tasks, tasks), value) for value in (np.nan, -np.inf, np.inf))
    rows, columns = np.triu_indices(tasks, 1)
    samples = correlations[:, [rows, rows, columns], [columns, rows, columns]]
    present = np.isfinite(samples).all(1)
    for mask in np.unique(present, axis=1).T if len(samples) else []:
        pairs = (present == mask[:, None]).all(0)
        found = pair_cosines(samples[mask][:, :, pairs], decay, level, least_block)
        for matrix, values in zip((mean, low, high), found[:3], strict=True):
            matrix[rows[pairs], columns[pairs]] = matrix[columns[pairs], rows[pairs]] = values
    np.fill_diagonal(mean, 1.0)
    return Intervals(mean, low, high, len(correlations)).within(-1, 1)


def pair_cosines(
    samples: Float[np.ndarray, "n 3 pairs"], decay: float, level: float, least_block: int
) -> Intervals:
    """The cosines of some pairs with their intervals; see `cosine_intervals`.

    Args:
        samples: C_ij, C_ii and C_jj of each pair, all finite.
        decay: of the average over measurements.
        level: the share of such intervals that hold the true cosine.
        least_block: how many consecutive measurements share a batch.
    """
    shares = decaying_shares(len(samples), decay)
    block = block_length(shares, least_block)
    if not _suffice(shares, block):
        return _unknown(samples.shape[2:], len(samples))
    products, one, other = samples.transpose(1, 0, 2)
    first, second = shares @ one, shares @ other
    strong = (first > 0) & (second > 0)
    ratio = np.sqrt(np.where(strong, second, 0.0) / np.where(strong, first, 1.0))
    inverse = np.sqrt(np.where(strong, first, 0.0) / np.where(strong, second, 1.0))
    # √(ab) around the averages a and b; its average is √(ab) itself.
    norms = (ratio * one + inverse * other) / 2
    return ratio_interval(products, norms, shares, level, block)


def noise_ratio_intervals(
    signal: Float[np.ndarray, "n *runs K K"],
    covariance: Float[np.ndarray, "n *runs K K"],
    weights: Float[np.ndarray, " K"],
    decay: float = 1.0,
    least_block: int = 2,
) -> Intervals:
    """The gradient-to-noise ratio of each task, with its interval, at least 0.

    `lightning_mtl.linalg.gradient_noise.gradient_to_noise` has the formula; the matrices need not
    be positive semi-definite here. The lower end is 0 where no signal stands out from the noise. Of
    too few measurements, the estimates are NaN and the intervals infinite.

    Args:
        signal: S, of measurements in which all K tasks took part; of one run, or of several.
        covariance: of the noise.
        weights: w.
        decay: of the average over measurements; 1 for equal shares.
        least_block: how many consecutive measurements share a batch.
    """
    shares = decaying_shares(len(signal), decay)
    block = block_length(shares, least_block)
    if not _suffice(shares, block):
        return _unknown(signal.shape[1:-1], len(signal)).within(0, np.inf)
    pulls = signal * np.outer(weights, weights)
    squares = np.diagonal(pulls, axis1=-2, axis2=-1)
    others = pulls.sum((-2, -1))[..., None] - 2 * pulls.sum(-1) + squares
    noise = (covariance @ weights @ weights)[..., None]
    found = ratio_interval(squares, noise + others, shares, LEVEL, block)
    return found.within(0, np.inf)


def _suffice(shares: Float[np.ndarray, " n"], block: int) -> bool:
    return len(shares) > 0 and effective_count(shares, block) >= LEAST


def _unknown(size: tuple[int, ...], count: int) -> Intervals:
    infinite = np.full(size, np.inf)
    return Intervals(np.full(size, np.nan), -infinite, infinite, count)
