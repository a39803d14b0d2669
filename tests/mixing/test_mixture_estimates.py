"""Estimates of one sample's noise from steps whose tasks have different numbers of samples."""

import math

import pytest
import torch

from lightning_mtl.mixing.mixture_estimates import MixtureEstimates
from lightning_mtl.monitors.measured_step import MeasuredStep, Measurement
from lightning_mtl.monitors.noise_averages import Noise


def measurement(
    norms: list[float], traces: list[float] | None, sub_batches: int = 2
) -> Measurement:
    """One of two tasks, whose noise the monitor has taken for that of 8 samples."""
    gramian = torch.diag(torch.tensor(norms, dtype=torch.float64))
    step = MeasuredStep(gramian, gramian, None, torch.ones(2), [2.0, 2.0])
    noise = None if traces is None else Noise(gramian, gramian, torch.tensor(traces).double())
    return Measurement(0, ["one", "two"], step, noise, sub_batches, 8.0)


def test_means_run_over_the_measurements_since_the_last_ones_were_taken() -> None:
    estimates = MixtureEstimates()
    for norms in ([1.0, 5.0], [3.0, 7.0]):
        estimates.learn(measurement(norms, [8.0, 16.0]), [{"one": 2, "two": 6}] * 2)
    # Traces for 8 samples: a variance between sub-batches of 1 and 2, times 2 and 6 samples.
    assert estimates.take() == {"one": (2.0, 2.0), "two": (6.0, 12.0)}
    assert estimates.take() == {}


def test_sub_batches_of_different_shares_are_averaged() -> None:
    estimates = MixtureEstimates()
    estimates.learn(
        measurement([0.0, 0.0], [8.0, 8.0]), [{"one": 2, "two": 6}, {"one": 6, "two": 2}]
    )
    expected = 1 / ((1 / 2 + 1 / 6) / 2)
    assert [each.variance for each in estimates.take().values()] == pytest.approx([expected] * 2)


def test_a_single_sub_batch_counts_with_that_of_the_step_before() -> None:
    estimates = MixtureEstimates()
    estimates.learn(measurement([1.0, 1.0], None, 1), [{"one": 2, "two": 6}])
    assert estimates.take() == {}
    estimates.learn(measurement([1.0, 1.0], [8.0, 8.0], 1), [{"one": 4, "two": 4}])
    assert estimates.take()["one"].variance == pytest.approx(1 / ((1 / 2 + 1 / 4) / 2))


def test_a_measurement_that_is_not_finite_says_nothing_of_its_task() -> None:
    estimates = MixtureEstimates()
    estimates.learn(measurement([math.inf, 5.0], [8.0, 8.0]), [{"one": 4, "two": 4}])
    estimates.learn(measurement([1.0, 7.0], [8.0, math.nan]), [{"one": 4, "two": 4}])
    assert estimates.take() == {"one": (1.0, 4.0), "two": (5.0, 4.0)}


def test_a_state_goes_on() -> None:
    estimates, other = MixtureEstimates(), MixtureEstimates()
    estimates.learn(measurement([1.0, 5.0], [8.0, 16.0]), [{"one": 2, "two": 6}])
    other.load_state_dict(estimates.state_dict())
    assert other.take() == estimates.take()
