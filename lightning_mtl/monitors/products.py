"""The products of task gradients over several measurements, as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lightning_mtl.monitors.noise_averages import Noise


@dataclass(frozen=True)
class Products:
    """Signal and noise of K tasks, for each of n measurements; NaN where a task is absent.

    Args:
        signal: S_ij = g_i · g'_j of independent batches, unbiased for E[g_i] · E[g_j].
        covariance: of the minibatch noise of a step, summed over parameters.
        squares: B_ii = E|g_i|², the squared norms of one sub-batch, with noise.
    """

    signal: Float[np.ndarray, "n K K"]
    covariance: Float[np.ndarray, "n K K"]
    squares: Float[np.ndarray, "n K"]

    @property
    def correlations(self) -> Float[np.ndarray, "n K K"]:
        """C_ij = S_ij / √(B_ii B_jj): scaled, so that all measurements count alike.

        Gradients shrink by orders of magnitude within a run; averages of S would be those of its
        first steps.
        """
        scale = np.sqrt(np.where(self.squares > 0, self.squares, np.nan))
        return self.signal / (scale[:, :, None] * scale[:, None, :])


def products_of(tasks: int, measured: Sequence[int], noise: Noise, sub_batches: int) -> Products:
    """The products of one measurement.

    Args:
        tasks: K.
        measured: the tasks that `noise` is about.
        noise: signal and noise of a step.
        sub_batches: how many the step has.
    """
    pair = np.ix_([0], measured, measured)
    signal, covariance = (np.full((1, tasks, tasks), np.nan) for _ in range(2))
    squares = np.full((1, tasks), np.nan)
    signal[pair], covariance[pair] = noise.signal.numpy(), noise.covariance.numpy()
    within = noise.signal + sub_batches * noise.covariance
    squares[0, list(measured)] = within.diagonal().clamp(min=0).numpy()
    return Products(signal, covariance, squares)


def stack(tasks: int, each: Sequence[Products]) -> Products:
    """The products of several measurements; there may be none.

    Args:
        tasks: K.
        each: their products, in the order of the steps.
    """
    empty = Products(*(np.zeros((0, *[tasks] * axes)) for axes in (2, 2, 1)))
    parts = [empty, *each]
    return Products(
        np.concatenate([part.signal for part in parts]),
        np.concatenate([part.covariance for part in parts]),
        np.concatenate([part.squares for part in parts]),
    )
