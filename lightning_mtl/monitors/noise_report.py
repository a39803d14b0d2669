"""What a monitor logs of a measurement, by name."""

import math
from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from lightning_mtl.linalg.gradient_noise import (
    cosines,
    gradient_to_noise,
    nearest_psd,
    noise_scale,
)
from lightning_mtl.monitors.measured_step import MeasuredStep
from lightning_mtl.monitors.noise_averages import Noise, agreement
from lightning_mtl.monitors.recent_noise import ExpectedCosines
from lightning_mtl.statistics import Intervals


def report_step(
    tasks: Sequence[str], measured: MeasuredStep, average: Noise | None
) -> dict[str, Tensor]:
    """The numbers of a step, and of the averages with its weights.

    Args:
        tasks: their names.
        measured: the numbers of these tasks.
        average: signal and noise over measurements; `None` if there is none yet.
    """
    norms = measured.mean.diagonal().sqrt()
    report = {f"gradient_norm/{task}": norm for task, norm in zip(tasks, norms, strict=True)}
    if len(tasks) > 1:
        report |= agreement(tasks, measured.mean, cosines(measured.mean), measured.weights)
    if average is not None:
        signal, covariance = nearest_psd(average.signal), nearest_psd(average.covariance)
        ratio = gradient_to_noise(measured.weights, signal, covariance)
        scale = noise_scale(average.trace, average.signal.diagonal())
        for k, task in enumerate(tasks):
            report |= {f"gnr/{task}": ratio[k], f"noise_scale/{task}": scale[k]}
    return report


def report_ratio_intervals(
    tasks: Sequence[str], report: dict[str, Tensor], found: Intervals
) -> dict[str, Tensor]:
    """The ends of the intervals of the gradient-to-noise ratios; infinite ones are left out.

    The ratio that is logged comes from matrices without negative eigenvalues, and from all earlier
    measurements: an interval that does not hold it, which is rare, is widened until it does.

    Args:
        tasks: their names.
        report: has the ratios.
        found: the intervals.
    """
    ends = {}
    for task, low, high in zip(tasks, found.low.tolist(), found.high.tolist(), strict=True):
        ratio = report[f"gnr/{task}"]
        ends[f"gnr_low/{task}"] = ratio.clamp(max=low)
        ends[f"gnr_high/{task}"] = ratio.clamp(min=high)
    return {name: end for name, end in ends.items() if bool(end.isfinite())}


def report_cosines(found: ExpectedCosines, pairs: bool) -> dict[str, Tensor]:
    """The number of pairs in conflict, and on request the cosine of each with its interval.

    A pair with an unknown cosine is left out.

    Args:
        found: the cosines.
        pairs: whether each is logged.
    """
    report = {"conflicts": torch.tensor(float(found.conflict.sum() / 2))}
    for (j, one), (k, other) in combinations(enumerate(found.tasks), 2) if pairs else ():
        cosine, low, high, _ = found.each.entry(j, k)
        if not math.isnan(cosine):
            names = ("expected_cosine", "expected_cosine_low", "expected_cosine_high")
            for name, value in zip(names, (cosine, low, high), strict=True):
                report[f"{name}/{one}/{other}"] = torch.tensor(value, dtype=torch.float64)
    return report
