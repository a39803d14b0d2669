"""Signal, noise and agreement in one measurement, and averages over a run."""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.linalg.gradient_noise import (
    conflict_rate,
    itgn_ratio,
    magnitude_similarity,
    noise_trace,
    unbiased_gramian,
)


class Noise(NamedTuple):
    """Signal and noise of the gradients of k tasks; see `lightning_mtl.linalg.gradient_noise`.

    Attributes:
        signal: E[g_i] · E[g_j].
        covariance: of the minibatch noise of a step, summed over parameters.
        trace: the variance of one sample's gradient.
    """

    signal: Float[Tensor, "k k"]
    covariance: Float[Tensor, "k k"]
    trace: Float[Tensor, " k"]

    @property
    def is_finite(self) -> bool:
        """Whether all numbers are finite: not where a loss or a gradient overflowed."""
        return all(bool(each.isfinite().all()) for each in self)


def noise_between_sub_batches(
    mean: Float[Tensor, "k k"], within: Float[Tensor, "k k"], count: int, samples: float
) -> Noise:
    """Signal and noise from the sub-batches of one step.

    Args:
        mean: A, the Gramian of the mean gradients.
        within: B, the mean Gramian of the sub-batches.
        count: how many sub-batches there are, at least 2.
        samples: in each sub-batch.
    """
    signal = unbiased_gramian(mean, within, count)
    return Noise(signal, (within - signal) / count, noise_trace(mean, within, count, samples))


def noise_between_steps(
    mean: Float[Tensor, "k k"],
    across: Float[Tensor, "k k"],
    before: Float[Tensor, "k k"],
    samples: float,
) -> Noise:
    """Signal and noise from the gradients of two steps, each of one batch of `samples` samples.

    Args:
        mean: the Gramian of this step.
        across: the products of the gradients of this step and of the one before.
        before: the Gramian of that one.
        samples: in each batch.
    """
    signal, within = (across + across.T) / 2, (mean + before) / 2
    return Noise(signal, within - signal, noise_trace((within + signal) / 2, within, 2, samples))


def agreement(
    tasks: Sequence[str],
    mean: Float[Tensor, "k k"],
    cosine: Float[Tensor, "k k"],
    weights: Float[Tensor, " k"],
) -> dict[str, Tensor]:
    """How much the tasks agree, by the names under which it is logged; for two tasks or more.

    Args:
        tasks: their names.
        mean: A, the Gramian of the mean gradients.
        cosine: the matrix `lightning_mtl.linalg.gradient_noise.cosines` of it.
        weights: of the tasks, as they were applied.
    """
    similarity, itgn = magnitude_similarity(mean), itgn_ratio(mean, weights)
    report = {"conflict_rate": conflict_rate(mean)}
    report |= {f"itgn/{task}": value for task, value in zip(tasks, itgn, strict=True)}
    for (j, one), (k, other) in combinations(enumerate(tasks), 2):
        report[f"cosine/{one}/{other}"] = cosine[j, k]
        report[f"similarity/{one}/{other}"] = similarity[j, k]
    return report


class NoiseAverages:
    """Bias-corrected exponential averages of `Noise`, each pair of tasks for itself.

    Args:
        decay: of the averages at each measurement.

    Attributes:
        tensors: for all tasks, (K, K); what a checkpoint keeps.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.tensors: dict[str, Tensor] = {}

    def learn(self, tasks: int, measured: list[int], noise: Noise) -> None:
        """Add a measurement to the averages.

        Args:
            tasks: K.
            measured: the k tasks that `noise` is about.
            noise: of these tasks.
        """
        pair = _pairs(measured)
        one = torch.ones_like(noise.signal)
        values = (noise.signal, noise.covariance, torch.diag(noise.trace), one)
        for name, value in zip((*Noise._fields, "weight"), values, strict=True):
            average = self.tensors.get(name, value.new_zeros(tasks, tasks)).clone()
            average[pair] = self.decay * average[pair] + (1 - self.decay) * value
            self.tensors[name] = average

    def read(self, measured: list[int]) -> Noise | None:
        """The averages of these tasks; `None` until all of their pairs have been measured.

        Args:
            measured: indices of the tasks.
        """
        pair = _pairs(measured)
        if not self.tensors or not bool((self.tensors["weight"][pair] > 0).all()):
            return None
        signal, covariance, trace = (
            self.tensors[name][pair] / self.tensors["weight"][pair] for name in Noise._fields
        )
        return Noise(signal, covariance, trace.diagonal())


def _pairs(tasks: list[int]) -> tuple[Tensor, Tensor]:
    index = torch.tensor(tasks)
    return index[:, None], index
