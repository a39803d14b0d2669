"""The measurements that the averages of a monitor come from, for the intervals of these."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lightning_mtl.monitors.error_bars import LEVEL, cosine_intervals, noise_ratio_intervals
from lightning_mtl.monitors.noise_averages import Noise
from lightning_mtl.monitors.products import Products, products_of, stack
from lightning_mtl.statistics import Intervals

LONGEST = 100
"""How many measurements of a task are kept at most."""

FORGOTTEN = 0.01
"""A measurement that counts as little as this, relative to the latest one, is dropped."""


class ExpectedCosines(NamedTuple):
    """The cosines of the expected gradients of some tasks.

    Attributes:
        tasks: their names.
        each: with intervals, each of which holds its cosine with the usual probability.
        together: with intervals that all hold together with that probability, by Bonferroni: where
            many pairs are looked at, some intervals miss by chance.
    """

    tasks: list[str]
    each: Intervals
    together: Intervals

    @property
    def known(self) -> bool:
        """Whether there is any pair of which something is known."""
        return bool(np.isfinite(self.each.mean[~np.eye(len(self.tasks), dtype=bool)]).any())

    @property
    def conflict(self) -> Bool[np.ndarray, "k k"]:
        """Where two tasks are in conflict: the interval, of all pairs together, is below zero."""
        return self.together.high < 0

    @property
    def agreement(self) -> Bool[np.ndarray, "k k"]:
        """Where two tasks agree: the interval, of all pairs together, is above zero."""
        return self.together.low > 0


class RecentNoise:
    """Signal and noise of the latest measurements; a bounded number of them.

    Args:
        decay: of the averages over measurements: the latest counts most.

    Attributes:
        products: of all tasks, for each measurement; `None` before the first.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        fading = math.log(FORGOTTEN) / math.log(decay) if decay > 0 else 1.0
        self.length = min(LONGEST, math.ceil(fading))
        self.products: Products | None = None
        self._least_block = 1

    def learn(self, tasks: int, measured: Sequence[int], noise: Noise, sub_batches: int) -> None:
        """Add a finite measurement, and drop those that hardly count any more.

        Args:
            tasks: K.
            measured: the tasks that `noise` is about.
            noise: signal and noise of a step.
            sub_batches: how many the step has; a single one was compared with the one before, so
                that consecutive measurements depend on each other.
        """
        self._least_block = 2 if sub_batches == 1 else 1
        latest = products_of(tasks, measured, noise, sub_batches)
        rows = stack(tasks, [latest] if self.products is None else [self.products, latest])
        present = np.isfinite(rows.squares)
        later = present[::-1].cumsum(0)[::-1] - present
        keep = (present & (later < self.length)).any(1)
        self.products = Products(rows.signal[keep], rows.covariance[keep], rows.squares[keep])

    def cosines(self, tasks: Sequence[int], names: Sequence[str]) -> ExpectedCosines | None:
        """The cosines of some tasks with their intervals; `None` if nothing is known of any.

        Args:
            tasks: indices of the tasks.
            names: of these tasks.
        """
        if self.products is None or len(tasks) < 2:
            return None
        correlations = self.products.correlations[:, list(tasks)][:, :, list(tasks)]
        pairs = math.comb(len(tasks), 2)
        levels = (LEVEL, 1 - (1 - LEVEL) / pairs)
        each, together = (
            cosine_intervals(correlations, self.decay, level, self._least_block) for level in levels
        )
        found = ExpectedCosines(list(names), each, together)
        return found if found.known else None

    def noise_ratios(self, tasks: Sequence[int], weights: Float[Tensor, " k"]) -> Intervals | None:
        """The intervals of the gradient-to-noise ratios of some tasks; `None` if nothing is known.

        They come from those measurements in which all of these tasks took part.

        Args:
            tasks: indices of the tasks.
            weights: of these tasks.
        """
        if self.products is None:
            return None
        pair = np.ix_(range(len(self.products.signal)), tasks, tasks)
        signal, covariance = self.products.signal[pair], self.products.covariance[pair]
        whole = np.isfinite(signal).all((1, 2))
        found = noise_ratio_intervals(
            signal[whole], covariance[whole], weights.numpy(), self.decay, self._least_block
        )
        return found if np.isfinite(found.high).any() else None

    def state_dict(self) -> dict[str, Tensor]:
        """The measurements, for a checkpoint; empty before the first."""
        if self.products is None:
            return {}
        return {name: torch.from_numpy(each) for name, each in vars(self.products).items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on with the measurements of a checkpoint. Called when a run resumes."""
        parts = {name: tensor.numpy() for name, tensor in state.items()}
        self.products = Products(**parts) if parts else None
