"""Products of synthetic gradients of many runs, whose expected gradients are known."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

MEANS = np.zeros((3, 100))
MEANS[0, :3], MEANS[1, :3], MEANS[2, :3] = (2.0, 0.0, 0.0), (-0.5, 1.0, 0.0), (0.0, 0.6, 0.8)
WEIGHTS = np.array([0.5, 1.0, 2.0])


class Runs(NamedTuple):
    """What is measured of n steps in several runs.

    Attributes:
        signal: unbiased products.
        covariance: of the noise of a step.
        squares: squared norms of a sub-batch.
    """

    signal: Float[np.ndarray, "n runs K K"]
    covariance: Float[np.ndarray, "n runs K K"]
    squares: Float[np.ndarray, "n runs K"]

    def pairs(self, one: int, other: int) -> Float[np.ndarray, "n 3 runs"]:
        """C_ij, C_ii and C_jj of a pair of tasks in each run."""
        places = [(one, other), (one, one), (other, other)]
        scaled = [
            self.signal[..., i, j] / np.sqrt(self.squares[..., i] * self.squares[..., j])
            for i, j in places
        ]
        return np.stack(scaled, axis=1)


def noise_covariance(noise: float) -> Float[np.ndarray, "K K"]:
    """Of the mean gradients of a step, summed over parameters: `noise` times the squared norms."""
    norms = np.linalg.norm(MEANS, axis=1)
    alike = 0.7 * np.eye(3) + 0.3
    return noise * alike * np.outer(norms, norms)


def measured_runs(parts: int, noise: float, steps: int, runs: int, seed: int) -> Runs:
    """Measure steps with gradients of normal noise, which the tasks have in part in common.

    Args:
        parts: R, the sub-batches of a step; 1 to compare it with the step before.
        noise: the expected squared norm of a step's noise, relative to that of the gradient.
        steps: n.
        runs: how many, all independent.
        seed: of the noise.
    """
    generator = np.random.default_rng(seed)
    tasks, size = MEANS.shape
    factor = np.linalg.cholesky(noise_covariance(noise) * parts / size)
    shape = (steps + (parts == 1), runs, parts, tasks, size)
    gradients = MEANS + factor @ generator.standard_normal(shape)
    if parts == 1:
        # A step and the one before are the two sub-batches.
        gradients = np.concatenate([gradients[1:], gradients[:-1]], axis=2)
    count = gradients.shape[2]
    total = gradients.sum(2)
    within = (gradients @ gradients.swapaxes(-1, -2)).sum(2)
    signal = (total @ total.swapaxes(-1, -2) - within) / (count * (count - 1))
    covariance = (within / count - signal) / parts
    return Runs(signal, covariance, np.diagonal(within, axis1=-2, axis2=-1) / count)
