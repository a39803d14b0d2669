"""The update of a mixture: as the paper has it, and on the simplex whatever is measured."""

import math

import pytest
import torch

from lightning_mtl.linalg.mixture import updated_mixture


def literal_update(
    weights: list[float],
    norms: list[float],
    variances: list[float],
    batch_size: int,
    zetas: tuple[float, float],
) -> list[float]:
    updated = []
    for weight, norm, variance in zip(weights, norms, variances, strict=True):
        exponent = zetas[0] * norm - zetas[1] / (2 * batch_size) * variance
        updated.append(weight * math.exp(exponent))
    return [weight / sum(updated) for weight in updated]


@pytest.mark.parametrize("tasks", [1, 2, 5])
def test_the_update_is_that_of_the_paper(tasks: int) -> None:
    generator = torch.Generator().manual_seed(tasks)
    for _ in range(20):
        weights, norms, variances = torch.rand(
            3, tasks, generator=generator, dtype=torch.float64
        ).unbind()
        weights, variances = weights / weights.sum(), 50 * variances
        expected = literal_update(
            weights.tolist(), norms.tolist(), variances.tolist(), 8, (0.7, 0.3)
        )
        found = updated_mixture(weights, norms, variances, 8, 0.7, 0.3)
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_gradients_of_any_size_leave_shares() -> None:
    weights = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    norms = torch.tensor([1e6, 2e6, -1e6], dtype=torch.float64)
    found = updated_mixture(weights, norms, 1e9 * norms.abs(), 8, 1.0, 1.0)
    assert found.isfinite().all()
    assert found.sum() == pytest.approx(1)


def test_a_share_of_zero_stays_zero() -> None:
    weights, norms = torch.tensor([0.0, 0.4, 0.6]), torch.tensor([9.0, 1.0, 1.0])
    assert updated_mixture(weights, norms, norms, 8, 1.0, 1.0).tolist() == pytest.approx(
        [0.0, 0.4, 0.6]
    )
