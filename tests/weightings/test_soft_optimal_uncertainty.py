"""Soft optimal uncertainty against its formulas, and where these come from."""

import math
from typing import Any

import pytest
import torch

from lightning_mtl.callbacks import SoftOptimalUncertainty

EVERY = [0.5, 20.0, "auto", None]
every_temperature = pytest.mark.parametrize("temperature", EVERY)


def literal(losses: list[float], temperature: Any) -> list[float]:
    """The printed rules on Python numbers."""
    inverse = [1 / loss for loss in losses]
    if temperature is None:
        return inverse
    mean = sum(inverse) / len(inverse)
    divisor = mean if temperature == "auto" else temperature
    powers = [math.exp(value / divisor) for value in inverse]
    return [power / sum(powers) for power in powers]


@every_temperature
def test_weights_are_those_of_the_printed_rule(temperature: Any) -> None:
    for _ in range(20):
        losses = torch.rand(5, dtype=torch.float64) + 0.1
        found = SoftOptimalUncertainty(temperature).weights(losses)
        assert found.tolist() == pytest.approx(literal(losses.tolist(), temperature), rel=1e-9)


def test_the_inverse_losses_minimise_uncertainty_weighting() -> None:
    """They are the closed form of what uncertainty weighting learns."""
    losses = torch.tensor([0.1, 1.0, 7.0], dtype=torch.float64)
    scale = torch.zeros(3, dtype=torch.float64, requires_grad=True)  # log σ
    optimizer = torch.optim.Adam([scale], lr=0.05)
    for _ in range(2000):
        optimizer.zero_grad()
        (losses * torch.exp(-scale) + scale).sum().backward()
        optimizer.step()
    learned = torch.exp(-scale.detach())
    torch.testing.assert_close(SoftOptimalUncertainty(None).weights(losses), learned)


@every_temperature
def test_small_losses_weigh_more_and_permuted_tasks_have_permuted_weights(temperature: Any) -> None:
    losses, order = torch.tensor([0.5, 1.0, 2.0, 4.0]), [2, 0, 3, 1]
    rule = SoftOptimalUncertainty(temperature)
    weights = rule.weights(losses)
    assert weights.tolist() == sorted(weights.tolist(), reverse=True)
    torch.testing.assert_close(rule.weights(losses[order]), weights[order])
    if temperature is not None:
        assert float(weights.sum()) == pytest.approx(1.0)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e3, 1e30])
def test_only_the_automatic_temperature_is_free_of_the_common_scale(scale: float) -> None:
    losses = torch.tensor([0.5, 1.0, 2.0])
    rule = SoftOptimalUncertainty("auto")
    torch.testing.assert_close(rule.weights(losses * scale), rule.weights(losses))
    printed = SoftOptimalUncertainty(2.0)
    assert not torch.allclose(printed.weights(losses * scale), printed.weights(losses), atol=1e-2)


@every_temperature
def test_a_loss_of_zero_counts_as_absent(temperature: Any) -> None:
    rule = SoftOptimalUncertainty(temperature)
    found = rule.weights(torch.tensor([0.5, 0.0, 2.0]))
    torch.testing.assert_close(found[[0, 2]], rule.weights(torch.tensor([0.5, 2.0])))
    assert found[1] == 0
    assert rule.weights(torch.zeros(3)).tolist() == [0, 0, 0]


@every_temperature
def test_losses_of_the_ends_of_the_range_have_finite_weights(temperature: Any) -> None:
    rule = SoftOptimalUncertainty(temperature)
    for losses in ([1e-38] * 5, [1e-38, 1e38], [1e38] * 5, [1e-45, 1.0]):
        assert torch.isfinite(rule.weights(torch.tensor(losses))).all()


@pytest.mark.parametrize("temperature", [0.0, -1.0, "soft"])
def test_another_temperature_is_refused(temperature: Any) -> None:
    with pytest.raises(ValueError, match=r"should be a positive number.*Found.*Use"):
        SoftOptimalUncertainty(temperature)
