"""The solver of MaxGNR: closed forms, its optimality condition, scales, brute force."""

import pytest
import torch
from torch import Tensor

from lightning_mtl.linalg.gradient_noise import gradient_to_noise
from lightning_mtl.linalg.noise_ratio import RESIDUAL, _objective, max_noise_ratio
from tests.support.jacobians import SCALES, awkward_jacobians, random_jacobian

OBJECTIVES = ("product", "min")


def problem(tasks: int, seed: int = 0, noise: float = 1.0) -> tuple[Tensor, Tensor]:
    """M of means of unequal lengths, and C of noise that is correlated between tasks."""
    means = random_jacobian(tasks, tasks + 6, seed)
    noises = noise * random_jacobian(tasks, tasks + 9, seed + 100)
    return means @ means.T, noises @ noises.T


def ones(tasks: int) -> Tensor:
    return torch.ones(tasks, dtype=torch.float64)


def log_ratios(logits: Tensor, signal: Tensor, covariance: Tensor) -> Tensor:
    """log GNR_i by section 3 of the specification, literally: A_i = S - e_i M_i: - ... ."""
    weights = logits.exp()
    second_moment = signal + covariance
    values = []
    for i in range(len(weights)):
        power = (
            weights @ second_moment @ weights
            - 2 * weights[i] * (signal[i] @ weights)
            + weights[i] ** 2 * signal[i, i]
        )
        values.append((weights[i] ** 2 * signal[i, i] / power).log())
    return torch.stack(values)


def slope(weights: Tensor, signal: Tensor, covariance: Tensor) -> Tensor:
    logits = weights.log().requires_grad_()
    (gradient,) = torch.autograd.grad(log_ratios(logits, signal, covariance).sum(), logits)
    return gradient


@pytest.mark.parametrize("tasks", [2, 3, 5, 10, 20, 40])
@pytest.mark.parametrize("noise", [0.1, 1.0, 10.0])
def test_the_returned_point_has_no_slope_left(tasks: int, noise: float) -> None:
    signal, covariance = problem(tasks, noise=noise)
    weights = max_noise_ratio(signal, covariance, ones(tasks))
    assert bool((weights > 0).all())
    assert float(weights.sum()) == pytest.approx(tasks)
    # The last digits of the ratios' differences are lost to rounding: 10 times the residual.
    assert float(slope(weights, signal, covariance).norm()) < 10 * RESIDUAL * tasks


def test_its_gradient_is_the_one_of_the_specification_and_of_autograd() -> None:
    signal, covariance = problem(4)
    logits = torch.randn(4, dtype=torch.float64)
    weights = logits.exp()
    matrices = []
    for i in range(4):
        unit = torch.eye(4, dtype=torch.float64)[i]
        column = torch.outer(signal[:, i], unit)
        matrices.append(
            signal + covariance - column - column.T + signal[i, i] * torch.outer(unit, unit)
        )
    printed = torch.stack(
        [
            2 - 2 * sum(weights[k] * (a @ weights)[k] / (weights @ a @ weights) for a in matrices)
            for k in range(4)
        ]
    )
    _, found, _ = _objective(torch.stack(matrices), logits, None)
    torch.testing.assert_close(found, printed)
    torch.testing.assert_close(found, slope(weights, signal, covariance))


@pytest.mark.parametrize("sharpness", [None, 1.0, 10.0])
def test_its_curvature_is_the_negative_hessian_of_autograd(sharpness: float | None) -> None:
    signal, covariance = problem(4)
    logits = torch.randn(4, dtype=torch.float64)
    matrices = []
    for i in range(4):
        without = signal.clone()
        without[i, :] = without[:, i] = 0
        matrices.append(covariance + without)

    def value(point: Tensor) -> Tensor:
        ratios = torch.stack(
            [
                2 * u - (point.exp() @ a @ point.exp()).log()
                for u, a in zip(point, matrices, strict=True)
            ]
        )
        if sharpness is None:
            return ratios.sum()
        return -torch.logsumexp(-sharpness * ratios, 0) / sharpness

    found, gradient, curvature = _objective(torch.stack(matrices), logits, sharpness)
    torch.testing.assert_close(found, value(logits))
    torch.testing.assert_close(gradient, torch.autograd.functional.jacobian(value, logits))
    torch.testing.assert_close(curvature, -torch.autograd.functional.hessian(value, logits))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("tasks", [1, 2, 5])
def test_identical_tasks_have_weights_of_one(tasks: int, objective: str) -> None:
    alike = torch.ones(tasks, tasks, dtype=torch.float64)
    for cross in (0.0, 0.5, 1.0):
        covariance = 3 * (cross * alike + (1 - cross) * torch.eye(tasks))
        weights = max_noise_ratio(2 * alike, covariance, ones(tasks), objective)
        torch.testing.assert_close(weights, ones(tasks))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_single_task_has_a_weight_of_one(objective: str) -> None:
    start = torch.tensor([3.0], dtype=torch.float64)
    alone = torch.tensor([[2.0]], dtype=torch.float64)
    assert max_noise_ratio(alone, alone, start, objective).tolist() == [1.0]


@pytest.mark.parametrize("seed", range(5))
def test_two_uncorrelated_tasks_have_the_closed_form(seed: int) -> None:
    """w_1 / w_2 = [b_2 v_2 / (b_1 v_1)]^{1/4}, b = E||g||², v = E||n||²."""
    generator = torch.Generator().manual_seed(seed)
    m, v = torch.randn(2, 2, generator=generator, dtype=torch.float64).mul(2).exp()
    b = m + v
    weights = max_noise_ratio(torch.diag(m), torch.diag(v), ones(2))
    expected = ((b[1] * v[1]) / (b[0] * v[0])) ** 0.25
    torch.testing.assert_close(weights[0] / weights[1], expected)


@pytest.mark.parametrize("tasks", [2, 3, 7])
def test_without_signal_weights_are_the_inverse_of_the_noise(tasks: int) -> None:
    """All noise, M -> 0: w_i proportional to 1 / RMS||g_i||."""
    power = torch.logspace(-2, 3, tasks, dtype=torch.float64)
    weights = max_noise_ratio(torch.diag(1e-12 * power), torch.diag(power), ones(tasks))
    expected = power.rsqrt()
    torch.testing.assert_close(weights, expected * tasks / expected.sum())


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("factor", [1e-6, 0.01, 30.0, 1e6])
def test_a_loss_times_c_has_its_weight_divided_by_c(objective: str, factor: float) -> None:
    signal, covariance = problem(3)
    weights = max_noise_ratio(signal, covariance, ones(3), objective)
    factors = torch.tensor([1.0, factor, 1.0], dtype=torch.float64)
    both = torch.outer(factors, factors)
    scaled = max_noise_ratio(both * signal, both * covariance, ones(3), objective)
    expected = weights / factors
    torch.testing.assert_close(scaled, expected * 3 / expected.sum(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("scale", SCALES)
def test_the_scale_of_all_gradients_does_not_matter(objective: str, scale: float) -> None:
    signal, covariance = problem(4)
    weights = max_noise_ratio(signal, covariance, ones(4), objective)
    scaled = max_noise_ratio(scale**2 * signal, scale**2 * covariance, ones(4), objective)
    torch.testing.assert_close(scaled, weights, rtol=1e-6, atol=0)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_permuted_tasks_have_permuted_weights(objective: str) -> None:
    signal, covariance = problem(5)
    order = torch.tensor([3, 0, 4, 1, 2])
    weights = max_noise_ratio(signal, covariance, ones(5), objective)
    permuted = max_noise_ratio(
        signal[order][:, order], covariance[order][:, order], ones(5), objective
    )
    torch.testing.assert_close(permuted, weights[order], rtol=1e-6, atol=0)


@pytest.mark.parametrize("start", [1e-6, 1.0, 1e6])
def test_the_start_does_not_matter(start: float) -> None:
    signal, covariance = problem(4)
    weights = max_noise_ratio(signal, covariance, ones(4))
    there = torch.tensor([start, 1.0, 1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(max_noise_ratio(signal, covariance, there), weights)


def grid(points: int) -> Tensor:
    """Weights of three tasks, all ratios from 1e-3 to 1e3."""
    axis = torch.linspace(-7, 7, points, dtype=torch.float64)
    first, second = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([first.flatten(), second.flatten(), 0 * first.flatten()], 1).exp()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_no_weights_of_a_brute_force_search_are_better(objective: str, seed: int) -> None:
    signal, covariance = problem(3, seed)
    summary = torch.sum if objective == "product" else torch.min
    score = torch.func.vmap(lambda w: summary(gradient_to_noise(w, signal, covariance).log()))
    weights = max_noise_ratio(signal, covariance, ones(3), objective)
    # The soft minimum is within log(K) / 1000 of the true one.
    assert float(score(weights[None])) >= float(score(grid(150)).max()) - 2e-3


@pytest.mark.parametrize("seed", range(4))
def test_the_worst_ratios_are_equal_under_min(seed: int) -> None:
    """Where every task's ratio falls with the weights of the others, all of them are the worst."""
    generator = torch.Generator().manual_seed(seed)
    m, v = torch.rand(2, 3, generator=generator, dtype=torch.float64) + 0.1
    weights = max_noise_ratio(torch.diag(m), torch.diag(v), ones(3), "min")
    ratios = gradient_to_noise(weights, torch.diag(m), torch.diag(v))
    torch.testing.assert_close(ratios, ratios.mean().expand(3), rtol=5e-3, atol=0)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("tasks", [2, 3, 7, 16])
def test_weights_are_finite_and_positive_on_awkward_gradients(tasks: int, objective: str) -> None:
    for case, jacobian in awkward_jacobians(tasks):
        total = jacobian @ jacobian.T
        for share in (0.0, 1e-3, 0.5, 1.0):
            weights = max_noise_ratio((1 - share) * total, share * total, ones(tasks), objective)
            assert bool(torch.isfinite(weights).all()), (case, share)
            assert bool((weights >= 0).all()), (case, share)
            assert float(weights.sum()) == pytest.approx(tasks), (case, share)
