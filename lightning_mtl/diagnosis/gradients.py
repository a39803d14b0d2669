r"""Estimates with intervals from measured task gradients.

Let g_t and g'_t be gradients of independent batches at one measurement, S_ij = g_i · g'_j their
unbiased products and B_ii = E|g_i|² the squared norm with noise. Each measurement is scaled before
it is averaged,

    C_ij = S_ij / √(B_ii B_jj),    ρ_i = mean C_ii,    cos_ij = mean C_ij / √(ρ_i ρ_j),

so that all steps count alike (see `lightning_mtl.monitors.products` and `.error_bars`, which the
monitor of a whole run has in common with this). ρ is the share of the signal in the squared norm,
and with b samples in a batch, b (1 - ρ) / ρ is tr Σ / |G|², the critical batch size of McCandlish,
Kaplan, Amodei et al., "An Empirical Model of Large-Batch Training", arXiv 1812.06162. Consecutive
measurements share a batch: intervals are those of blocks of them, and where there is more to it
than a ratio of averages, of a jackknife.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from lightning_mtl.diagnosis.record import WARM_UP
from lightning_mtl.monitors.error_bars import (
    LEVEL,
    block_length,
    cosine_intervals,
    decaying_shares,
)
from lightning_mtl.monitors.measured_step import Measurement
from lightning_mtl.monitors.products import products_of, stack
from lightning_mtl.statistics import Interval, jackknife_interval

UNKNOWN = Interval(float("nan"), -float("inf"), float("inf"), 0)


class GradientSeries(NamedTuple):
    """Scaled products of task gradients, one for each measurement; NaN where a task is absent.

    Attributes:
        tasks: their names.
        correlations: C, with the signal's share ρ on the diagonal.
        squares: B_ii, the squared norms with noise.
        powers: w_i² S_ii over Σ_j w_j² B_jj, with the applied weights w; 0 of an absent task.
        batch: samples in each of the batches that are compared.
        samples: samples in an optimizer step.
    """

    tasks: tuple[str, ...]
    correlations: Float[np.ndarray, "n K K"]
    squares: Float[np.ndarray, "n K"]
    powers: Float[np.ndarray, "n K"]
    batch: float
    samples: float

    def of(self, tasks: Sequence[str]) -> "GradientSeries":
        """The same of some tasks; powers stay relative to the sum over all."""
        index = [self.tasks.index(task) for task in tasks]
        return self._replace(
            tasks=tuple(tasks),
            correlations=self.correlations[:, index][:, :, index],
            squares=self.squares[:, index],
            powers=self.powers[:, index],
        )


class Pair(NamedTuple):
    """How the expected gradients of two tasks stand to each other.

    Attributes:
        tasks: the two.
        cosine: of the expected gradients, with its interval; NaN where one of the averaged
            gradients does not stand out from its noise.
    """

    tasks: tuple[str, str]
    cosine: Interval

    @property
    def conflicts(self) -> bool:
        """Whether the interval of the cosine lies below zero."""
        return self.cosine.high < 0

    @property
    def agrees(self) -> bool:
        """Whether the interval of the cosine lies above zero."""
        return self.cosine.low > 0


def gradient_series(tasks: Sequence[str], measurements: Sequence[Measurement]) -> GradientSeries:
    """The products of all measurements after the first steps.

    Args:
        tasks: the names of all tasks.
        measurements: in the order of the steps; those that compare nothing are left out.
    """
    usable = [
        each for each in measurements if each.noise and bool(each.measured.mean.isfinite().all())
    ]
    usable = usable[int(np.ceil(WARM_UP * len(usable))) :]
    rows, weights = [], np.full((len(usable), len(tasks)), np.nan)
    for index, (_, names, measured, noise, parts, _) in enumerate(usable):
        assert noise is not None
        places = [tasks.index(name) for name in names]
        rows.append(products_of(len(tasks), places, noise, parts))
        weights[index, places] = measured.weights.numpy()
    products = stack(len(tasks), rows)
    pulls = weights**2 * np.diagonal(products.signal, axis1=1, axis2=2)
    total = np.nansum(weights**2 * products.squares, axis=1, keepdims=True)
    return GradientSeries(
        tasks=tuple(tasks),
        correlations=products.correlations,
        squares=products.squares,
        powers=np.nan_to_num(pulls / np.where(total > 0, total, np.nan)),
        batch=_median([each.samples for each in usable]),
        samples=_median([each.samples * each.sub_batches for each in usable]),
    )


def shares(series: GradientSeries, level: float = LEVEL) -> dict[str, Interval]:
    """Each task's share of the summed norms of the averaged, weighted gradients.

    w_k |G_k| / Σ_j w_j |G_j|; 1 / K each where all are equal.
    """

    def estimator(powers: Float[np.ndarray, "n K"]) -> Float[np.ndarray, " K"]:
        norms = np.sqrt(powers.mean(0).clip(min=0))
        return norms / norms.sum() if norms.any() else np.full(len(norms), np.nan)

    if not len(series.powers):
        return dict.fromkeys(series.tasks, UNKNOWN)
    found = jackknife_interval(estimator, series.powers, level, _block(len(series.powers)))
    return {task: _within(found.entry(k), 0, 1) for k, task in enumerate(series.tasks)}


def pairs(series: GradientSeries, level: float = LEVEL) -> list[Pair]:
    """Every pair of tasks, with intervals that hold for all pairs together.

    Each is at 1 - (1 - level) / n for n pairs (Bonferroni), so that of tasks whose gradients have
    nothing to do with each other no pair is taken for more than that too often.
    """
    names = list(combinations(range(len(series.tasks)), 2))
    each = 1 - (1 - level) / max(len(names), 1)
    found = cosine_intervals(series.correlations, level=each)
    return [Pair((series.tasks[i], series.tasks[j]), found.entry(i, j)) for i, j in names]


def critical_batches(series: GradientSeries, level: float = LEVEL) -> dict[str, Interval]:
    """The critical batch size of each task in samples; infinite where no signal is left."""
    found = {}
    for k, task in enumerate(series.tasks):
        signal = _mean(series.correlations[:, k, k], level)
        mean, low, high = (
            _batch_of(part, series.batch) for part in (signal.mean, signal.high, signal.low)
        )
        found[task] = Interval(mean, low, high, signal.count)
    return found


def _block(measurements: int) -> int:
    """How many consecutive measurements the jackknife leaves out together, at least two."""
    return block_length(decaying_shares(measurements, 1.0), 2)


def _mean(values: Float[np.ndarray, " n"], level: float) -> Interval:
    values = values[np.isfinite(values)]
    if not len(values):
        return UNKNOWN
    return jackknife_interval(np.mean, values, level, _block(len(values))).entry()


def _batch_of(signal: float, batch: float) -> float:
    """The batch size b (1 - ρ) / ρ, from the signal's share ρ of the squared norm."""
    if np.isnan(signal):
        return float("nan")
    share = min(signal, 1.0)
    return batch * (1 - share) / share if share > 0 else float("inf")


def _within(interval: Interval, low: float, high: float) -> Interval:
    """The interval, cut off at what is possible."""
    ends = np.clip(interval[:3], low, high).tolist()
    return Interval(ends[0], ends[1], ends[2], interval.count)


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else float("nan")
