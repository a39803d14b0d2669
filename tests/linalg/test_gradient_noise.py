"""Noise statistics against their definitions, and on gradients of known mean and covariance."""

import math

import pytest
import torch
from torch import Tensor

from lightning_mtl.linalg.gradient_noise import (
    average_overlap,
    conflict_rate,
    cosines,
    gradient_to_noise,
    itgn_ratio,
    magnitude_similarity,
    nearest_psd,
    noise_scale,
    noise_trace,
    signal_gramian,
    unbiased_gramian,
)
from tests.support.jacobians import SCALES, random_jacobian

K, P = 3, 12


def synthetic(trials: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Draws (trials, K, P) of gradients whose noise is correlated between tasks, M, and C."""
    generator = torch.Generator().manual_seed(seed)
    mean = random_jacobian(K, P, seed)
    mixing = torch.randn(K, K, generator=generator, dtype=torch.float64)
    noise = torch.randn(trials, K, P, generator=generator, dtype=torch.float64)
    return mean + mixing @ noise, mean @ mean.T, P * mixing @ mixing.T


def gramians(parts: Tensor) -> tuple[Tensor, Tensor]:
    """A and B of draws (..., R, K, P)."""
    average = parts.mean(-3)
    return average @ average.mT, (parts @ parts.mT).mean(-3)


@pytest.mark.parametrize("parts", [2, 5])
def test_unbiased_gramian_finds_the_known_inner_products(parts: int) -> None:
    draws, signal, covariance = synthetic(20_000 * parts)
    mean, within = gramians(draws.unflatten(0, (-1, parts)))
    found = unbiased_gramian(mean.mean(0), within.mean(0), parts)
    assert float((found - signal).norm() / signal.norm()) < 0.03
    assert float((mean.mean(0) - signal - covariance / parts).norm() / signal.norm()) < 0.03


def test_unbiased_gramian_is_the_mean_over_pairs_of_different_parts() -> None:
    draws, _, _ = synthetic(4)
    pairs = [draws[r] @ draws[s].T for r in range(4) for s in range(4) if r != s]
    found = unbiased_gramian(*gramians(draws), 4)
    torch.testing.assert_close(found, sum(pairs) / len(pairs))


@pytest.mark.parametrize(("parts", "samples"), [(2, 1), (4, 8)])
def test_noise_trace_finds_the_known_variance_of_a_sample(parts: int, samples: int) -> None:
    draws, _, covariance = synthetic(8_000 * parts * samples)
    batches = draws.unflatten(0, (-1, parts, samples)).mean(2)
    mean, within = gramians(batches)
    trace = noise_trace(mean.mean(0), within.mean(0), parts, samples)
    torch.testing.assert_close(trace, covariance.diagonal(), rtol=0.03, atol=0)


def test_noise_trace_is_the_sample_variance_of_the_parts_times_their_size() -> None:
    draws, _, _ = synthetic(6)
    expected = torch.stack([7 * draws[:, k].var(0).sum() for k in range(K)])
    torch.testing.assert_close(noise_trace(*gramians(draws), 6, 7), expected)


@pytest.mark.parametrize("distance", [0.3, 2.0])
def test_noise_scale_of_linear_regression_is_the_closed_form(distance: float) -> None:
    """g = x (x·δ - ε) has mean δ and tr Σ = (d + 1) |δ|² + d σ²: B = d + 1 + d σ² / |δ|²."""
    dimension, sigma, parts, samples = 5, 0.7, 4, 16
    theta = torch.full((dimension,), distance / math.sqrt(dimension), dtype=torch.float64)
    x = torch.randn(6_000, parts, samples, dimension, dtype=torch.float64)
    noise = sigma * torch.randn(6_000, parts, samples, dtype=torch.float64)
    gradients = (x * (x @ theta - noise)[..., None]).mean(2)
    mean, within = gramians(gradients[:, :, None, :])
    mean, within = mean.mean(0), within.mean(0)
    trace = noise_trace(mean, within, parts, samples)
    found = noise_scale(trace, unbiased_gramian(mean, within, parts).diagonal())
    expected = dimension + 1 + dimension * sigma**2 / distance**2
    # |δ|² is known to 2 √(0.67 / 384,000) / 0.3 = 0.9 %, seven times less than is allowed.
    assert float(found) == pytest.approx(expected, rel=0.06)


def test_noise_scale_is_infinite_without_signal_and_zero_without_noise() -> None:
    found = noise_scale(torch.tensor([2.0, 2.0, -1.0, 3.0]), torch.tensor([0.0, -1.0, 1.0, 2.0]))
    assert found.tolist() == [math.inf, math.inf, 0.0, 1.5]


@pytest.mark.parametrize("scale", SCALES)
def test_cosines_and_similarities_equal_their_definitions_at_every_scale(scale: float) -> None:
    rows = scale * random_jacobian(4, P)
    cosine, similarity = cosines(rows @ rows.T), magnitude_similarity(rows @ rows.T)
    for i in range(4):
        for j in range(4):
            a, b = rows[i].norm(), rows[j].norm()
            expected = torch.cosine_similarity(rows[i], rows[j], dim=0, eps=0)
            torch.testing.assert_close(cosine[i, j], expected)
            torch.testing.assert_close(similarity[i, j], 2 * a * b / (a**2 + b**2))


def test_a_zero_gradient_has_no_direction() -> None:
    rows = random_jacobian(3, P)
    rows[1] = 0
    assert cosines(rows @ rows.T)[1].tolist() == [0.0, 0.0, 0.0]
    assert magnitude_similarity(rows @ rows.T)[1].tolist() == [0.0, 1.0, 0.0]


def test_conflict_rate_counts_pairs() -> None:
    rows = random_jacobian(6, 4)
    pairs = [(i, j) for i in range(6) for j in range(i)]
    conflicts = sum(float(rows[i] @ rows[j]) < 0 for i, j in pairs)
    assert 0 < conflicts < len(pairs)
    assert float(conflict_rate(rows @ rows.T)) == pytest.approx(conflicts / len(pairs))
    assert float(conflict_rate(torch.ones(1, 1))) == 0.0


@pytest.mark.parametrize("scale", SCALES)
def test_itgn_ratio_is_the_length_of_the_others_over_the_own(scale: float) -> None:
    rows = scale * random_jacobian(4, P)
    weights = torch.tensor([0.1, 2.0, 1.0, 0.9], dtype=torch.float64)
    weighted = weights[:, None] * rows
    others = weighted.sum(0) - weighted
    expected = others.norm(dim=1) / weighted.norm(dim=1)
    torch.testing.assert_close(itgn_ratio(rows @ rows.T, weights), expected)


def test_itgn_ratio_is_zero_for_a_lone_task_and_infinite_for_a_silent_one() -> None:
    assert itgn_ratio(torch.tensor([[4.0]]), torch.ones(1)).tolist() == [0.0]
    silent = itgn_ratio(torch.diag(torch.tensor([0.0, 1.0])), torch.ones(2))
    assert silent.tolist() == [math.inf, 0.0]


@pytest.mark.parametrize("beta", [0.5, 0.9, 0.99])
def test_average_overlap_is_the_sum_of_the_squared_weights(beta: float) -> None:
    for steps in (1, 2, 7, 300):
        weights = [(1 - beta) * beta**age / (1 - beta**steps) for age in range(steps)]
        assert sum(weights) == pytest.approx(1)
        assert average_overlap(beta, steps) == pytest.approx(sum(w * w for w in weights))


def averaged(draws: Tensor, beta: float) -> Tensor:
    """Bias-corrected exponential averages over axis 1 of (trials, steps, K, P), at the end."""
    steps = draws.shape[1]
    ages = torch.arange(steps - 1, -1, -1)
    weights = (1 - beta) * beta ** ages.double() / (1 - beta**steps)
    return torch.einsum("t,ntkp->nkp", weights, draws)


@pytest.mark.parametrize("steps", [5, 60])
def test_signal_gramian_is_within_3_percent_and_the_uncorrected_one_is_not(steps: int) -> None:
    trials, beta = 600_000 // steps, 0.9
    draws, signal, covariance = synthetic(trials * steps)
    mean = averaged(draws.unflatten(0, (trials, steps)), beta)
    uncorrected = (mean @ mean.mT).mean(0)
    second_moment = signal + covariance
    found = signal_gramian(uncorrected, second_moment, average_overlap(beta, steps))
    assert float((found - signal).norm() / signal.norm()) < 0.03
    excess = (uncorrected - signal).diagonal() / covariance.diagonal()
    # Of 10,000 trials where the signal is long beside the noise: 12 % off, and a factor is seen.
    torch.testing.assert_close(
        excess, torch.full_like(excess, average_overlap(beta, steps)), rtol=0.4, atol=0
    )


def test_signal_gramian_keeps_its_diagonal_between_noise_only_and_signal_only() -> None:
    second_moment = torch.diag(torch.tensor([4.0, 4.0, 4.0], dtype=torch.float64))
    average = torch.diag(torch.tensor([0.0, 2.0, 9.0], dtype=torch.float64))
    found = signal_gramian(average, second_moment, 0.2).diagonal()
    torch.testing.assert_close(found, torch.tensor([4e-3, 1.5, 4 - 4e-3]).double())


@pytest.mark.parametrize("scale", SCALES)
def test_gradient_to_noise_is_signal_over_everything_else(scale: float) -> None:
    """||w_i m_i||² / E||Σ_j w_j g_j - w_i m_i||², by its definition over many draws."""
    generator = torch.Generator().manual_seed(1)
    means = random_jacobian(K, P, 1)
    mixing = torch.randn(K, K, generator=generator, dtype=torch.float64)
    weights = torch.tensor([0.5, 1.5, 1.0], dtype=torch.float64)
    noise = torch.randn(40_000, K, P, generator=generator, dtype=torch.float64)
    update = torch.einsum("k,nkp->np", weights, means + mixing @ noise)
    signal = weights[:, None] * means
    power = torch.stack([(update - signal[k]).square().sum(1).mean() for k in range(K)])
    found = gradient_to_noise(weights, scale**2 * means @ means.T, scale**2 * P * mixing @ mixing.T)
    torch.testing.assert_close(found, signal.square().sum(1) / power, rtol=0.03, atol=0)


def test_gradient_to_noise_does_not_change_with_the_size_of_all_weights() -> None:
    _, signal, covariance = synthetic(1)
    weights = torch.tensor([0.5, 1.5, 1.0], dtype=torch.float64)
    torch.testing.assert_close(
        gradient_to_noise(weights, signal, covariance),
        gradient_to_noise(1e5 * weights, signal, covariance),
    )


def test_nearest_psd_is_the_projection_in_frobenius_norm() -> None:
    matrix = random_jacobian(5, 5)
    matrix = matrix + matrix.T
    found = nearest_psd(matrix)
    rest = matrix - found
    assert float(torch.linalg.eigvalsh(found)[0]) > -1e-10
    assert float(torch.linalg.eigvalsh(rest)[-1]) < 1e-10
    assert abs(float((found * rest).sum())) < 1e-8
    torch.testing.assert_close(nearest_psd(found), found)


def test_statistics_of_one_example_have_their_known_values() -> None:
    gramian = torch.tensor([[4.0, -2.0], [-2.0, 9.0]])
    assert float(cosines(gramian)[0, 1]) == pytest.approx(-1 / 3)
    assert float(magnitude_similarity(gramian)[0, 1]) == pytest.approx(12 / 13)
    assert float(conflict_rate(gramian)) == 1.0
    torch.testing.assert_close(itgn_ratio(gramian, torch.ones(2)), torch.tensor([1.5, 2 / 3]))


@pytest.mark.parametrize("scale", [1e-76, 1e-40, 1e40, 1e76])
def test_ratios_keep_their_scale(scale: float) -> None:
    """Of products in float64 of gradients from 1e-38 to 1e38."""
    rows = torch.randn(4, 9, dtype=torch.float64)
    gramian, weights = rows @ rows.T, torch.rand(4, dtype=torch.float64) + 0.1
    torch.testing.assert_close(cosines(gramian * scale), cosines(gramian))
    torch.testing.assert_close(magnitude_similarity(gramian * scale), magnitude_similarity(gramian))
    torch.testing.assert_close(itgn_ratio(gramian * scale, weights), itgn_ratio(gramian, weights))
    signal, noise = nearest_psd(gramian * scale), gramian * scale
    expected = gradient_to_noise(weights, gramian, gramian)
    torch.testing.assert_close(gradient_to_noise(weights, signal, noise), expected)
    torch.testing.assert_close(
        noise_scale(gramian.diagonal() * scale, gramian.diagonal() * scale), torch.ones(4).double()
    )
