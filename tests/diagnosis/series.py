"""Measurements of synthetic gradients."""

import numpy as np
import torch
from jaxtyping import Float

from lightning_mtl.diagnosis.gradients import GradientSeries
from lightning_mtl.monitors.measured_step import MeasuredStep, Measurement
from lightning_mtl.monitors.noise_averages import noise_between_steps


def measurements(
    gradients: Float[np.ndarray, "n K P"],
    tasks: tuple[str, ...] = ("one", "two"),
    samples: float = 32.0,
    weights: tuple[float, ...] | None = None,
) -> list[Measurement]:
    """What a monitor measures of these gradients of consecutive steps, each of one batch."""
    rows = torch.from_numpy(gradients)
    applied = torch.tensor(weights or (1.0,) * len(tasks), dtype=torch.float64)
    found = []
    for step in range(len(rows)):
        now, before = rows[step], rows[max(step - 1, 0)]
        mean, across, earlier = now @ now.T, now @ before.T, before @ before.T
        both = torch.stack([across, earlier]) if step else None
        measured = MeasuredStep(mean, mean, both, applied, [1.0] * len(tasks))
        noise = noise_between_steps(mean, across, earlier, samples) if step else None
        found.append(Measurement(step, list(tasks), measured, noise, 1, samples))
    return found


def noisy(
    means: Float[np.ndarray, "K P"], scale: float, steps: int, seed: int
) -> Float[np.ndarray, "n K P"]:
    """Gradients with these means and independent noise of this size in every entry."""
    generator = np.random.default_rng(seed)
    return means + scale * generator.standard_normal((steps, *means.shape))


def quick_series(gradients: Float[np.ndarray, "n K P"]) -> GradientSeries:
    """What `gradient_series` makes of unweighted measurements, quick enough to repeat."""
    now, before = gradients[1:], gradients[:-1]
    across = np.einsum("nip,njp->nij", now, before)
    signal = (across + across.transpose(0, 2, 1)) / 2
    squares = ((now**2).sum(2) + (before**2).sum(2)) / 2
    scale = np.sqrt(squares)
    return GradientSeries(
        tasks=tuple(f"task {k}" for k in range(gradients.shape[1])),
        correlations=signal / (scale[:, :, None] * scale[:, None, :]),
        squares=squares,
        powers=np.diagonal(signal, axis1=1, axis2=2) / squares.sum(1, keepdims=True),
        batch=32.0,
        samples=32.0,
    )
