"""Intervals of ratios of weighted averages, which hold where the denominator is mostly noise."""

import numpy as np
from jaxtyping import Float
from scipy import stats

from lightning_mtl.statistics.arguments import check_level, finite_array
from lightning_mtl.statistics.intervals import Intervals


def ratio_interval(
    numerators: Float[np.ndarray, "n *shape"],
    denominators: Float[np.ndarray, "n *shape"],
    shares: Float[np.ndarray, " n"] | None = None,
    level: float = 0.95,
    block: int = 1,
) -> Intervals:
    r"""The ratio of two averages with its confidence interval, for positive denominators.

    With the weighted averages x̄ and ȳ, the interval holds every θ for which Student's test does not
    reject that x - θ y is zero on average:

        (x̄ - θ ȳ)² ≤ t² (V_xx - 2 θ V_xy + θ² V_yy)

    Fieller, "Some problems in interval estimation", Journal of the Royal Statistical Society B
    1954. Unlike an interval around the estimate, it stays right where ȳ hardly stands out from its
    noise: it excludes zero just where the interval of x̄ does, and reaches infinity where ȳ could be
    zero. Of the two branches that are left there if zero is excluded, only the one with the sign of
    x̄ is possible, since the denominator is positive.

    With shares p_t that sum to 1 and deviations d_t, V is Σ p_t² d_t d_tᵀ, scaled to be unbiased.
    Student's t has ν = (Σ p_t²)² / Σ p_t⁴ - 1 degrees of freedom, by Satterthwaite ("An approximate
    distribution of estimates of variance components", Biometrics Bulletin 1946); for equal shares
    that is n - 1.

    Args:
        numerators: samples of x, in the order in which they were taken.
        denominators: samples of y, whose expectation is positive.
        shares: how much each sample counts, relative to the others; equally by default.
        level: the share of such intervals that hold the true ratio.
        block: how many consecutive samples depend on each other; their averages count as one.

    Returns:
        The ratio, NaN where the average of the denominators is not positive, with its interval.

    Raises:
        ValueError: if there are no samples, one is NaN or infinite, or `block` is below 1.
    """
    check_level("ratio_interval", level)
    x, y = (
        finite_array("ratio_interval", name, values, axes=np.ndim(values) or 1)
        for name, values in (("numerators", numerators), ("denominators", denominators))
    )
    if block < 1 or not len(x):
        raise ValueError(
            "`ratio_interval` should be given at least one sample, and blocks of at least one."
            f" Found {len(x)} samples and blocks of {block}."
        )
    weights = np.ones(len(x)) if shares is None else shares
    both, weights = _block_means(np.stack([x, y], axis=1), weights / weights.sum(), block)
    (x_mean, y_mean), covariance = _mean_and_covariance(both, weights)
    freedom = effective_count(weights) - 1
    # A single sample leaves no freedom, but for rounding, and has nothing to be compared with.
    known = freedom > 1e-6
    critical = float(stats.t.ppf((1 + level) / 2, freedom)) ** 2 if known else 1.0
    low, high = _ends(x_mean, y_mean, critical * covariance)
    low, high = np.where(known, low, -np.inf), np.where(known, high, np.inf)
    ratio = np.where(y_mean > 0, x_mean / np.where(y_mean > 0, y_mean, 1.0), np.nan)
    return Intervals(ratio[()], low[()], high[()], len(weights))


def effective_count(shares: Float[np.ndarray, " n"], block: int = 1) -> float:
    """How many equally weighted samples leave as many degrees of freedom: (Σ p²)² / Σ p⁴.

    Args:
        shares: how much each sample counts, relative to the others.
        block: how many consecutive samples count as one.
    """
    _, blocked = _block_means(shares, shares, block)
    return float((blocked**2).sum() ** 2 / (blocked**4).sum())


def _block_means(
    samples: Float[np.ndarray, "n *shape"], shares: Float[np.ndarray, " n"], block: int
) -> tuple[Float[np.ndarray, "g *shape"], Float[np.ndarray, " g"]]:
    """The averages over consecutive samples, and the share of each; the first may have more."""
    if block == 1:
        return samples, shares
    first = len(samples) % block
    starts = np.arange(first, len(samples), block) if len(samples) >= block else np.zeros(1, int)
    starts[0] = 0
    total = np.add.reduceat(shares, starts)
    weighted = np.add.reduceat(_times(shares, samples), starts)
    return _times(1 / total, weighted), total


def _mean_and_covariance(
    samples: Float[np.ndarray, "n 2 *shape"], shares: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "2 *shape"], Float[np.ndarray, "2 2 *shape"]]:
    """The weighted averages of x and y and the covariance of these averages, unbiased."""
    mean = _times(shares, samples).sum(0)
    deviations = _times(shares, samples - mean)
    spread = np.einsum("ni...,nj...->ij...", deviations, deviations)
    square, cube = (shares**2).sum(), (shares**3).sum()
    # Of the covariance, the spread has this share on average: 1 - 1 / n for equal shares.
    share = 1 - 2 * cube / square + square
    return mean, spread / share if len(shares) > 1 else spread


def _ends(
    x: Float[np.ndarray, "*shape"],
    y: Float[np.ndarray, "*shape"],
    spread: Float[np.ndarray, "2 2 *shape"],
) -> tuple[Float[np.ndarray, "*shape"], Float[np.ndarray, "*shape"]]:
    """The ends of Fieller's interval, where `spread` is the covariance times t²."""
    square, product, constant = y * y - spread[1, 1], x * y - spread[0, 1], x * x - spread[0, 0]
    root = np.sqrt((product**2 - square * constant).clip(min=0))
    divisor = np.where(square == 0, 1.0, square)
    roots = np.sort(np.stack([product - root, product + root]) / divisor, axis=0)
    bounded = (square > 0) & (y > 0)
    # The denominator may be zero and the numerator may not: only the sign of the ratio is known.
    signed = (square < 0) & (constant > 0)
    low = np.where(bounded, roots[0], np.where(signed & (x > 0), roots[1], -np.inf))
    high = np.where(bounded, roots[1], np.where(signed & (x < 0), roots[0], np.inf))
    return low, high


def _times(
    shares: Float[np.ndarray, " n"], samples: Float[np.ndarray, "n *shape"]
) -> Float[np.ndarray, "n *shape"]:
    return shares.reshape(-1, *[1] * (samples.ndim - 1)) * samples
