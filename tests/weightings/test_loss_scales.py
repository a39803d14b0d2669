"""Rules that learn from losses keep their scale: from 1e-38 to 1e38 in float32."""

import pytest
import torch

from lightning_mtl.callbacks import (
    DWA,
    FAMO,
    IMTL,
    IMTLL,
    MGDA,
    STCH,
    FairGrad,
    GeometricLoss,
    GradNorm,
    UncertaintyWeighting,
)
from lightning_mtl.weightings.memory.adam import Adam
from lightning_mtl.weightings.memory.task_memory import TaskMemory
from tests.support.jacobians import random_jacobian

SCALES = (1e-36, 1e-20, 1e20, 1e37)


@pytest.mark.parametrize("scale", SCALES)
def test_dwa_averages_losses_whose_sum_would_overflow(scale: float) -> None:
    plain, scaled = DWA(), DWA()
    for _ in range(3):
        for _ in range(200):
            losses = torch.rand(3) + 0.1
            plain.update(losses)
            scaled.update(losses * scale)
        plain.end_epoch(), scaled.end_epoch()
    found, expected = scaled.weights(torch.ones(3)), plain.weights(torch.ones(3))
    torch.testing.assert_close(found, expected)
    assert not torch.equal(expected, torch.ones(3))


def test_dwa_gives_all_weight_to_a_ratio_beyond_the_range() -> None:
    rule = DWA()
    for losses in ([1e-30, 1.0], [1e30, 1.0]):
        rule.update(torch.tensor(losses))
        rule.end_epoch()
    assert rule.weights(torch.ones(2)).tolist() == [2.0, 0.0]


@pytest.mark.parametrize("scale", SCALES)
def test_the_nadir_of_stch_is_a_mean_whose_sum_would_overflow(scale: float) -> None:
    plain, scaled = STCH(warmup_epochs=1), STCH(warmup_epochs=1)
    for _ in range(200):
        losses = torch.rand(3) + 0.1
        plain.update(losses)
        scaled.update(losses * scale)
    plain.end_epoch(), scaled.end_epoch()
    losses = torch.rand(3) + 0.1
    found = scaled.weights(losses * scale) * scale
    torch.testing.assert_close(found, plain.weights(losses), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("scale", SCALES)
def test_the_targets_of_gradnorm_keep_their_scale(scale: float) -> None:
    plain, scaled = GradNorm(), GradNorm()
    for _ in range(5):
        weights, losses, norms = torch.rand(3, 200) + 0.1
        expected = plain.gradient(weights, losses, norms)
        found = scaled.gradient(weights, losses * scale, norms * scale)
        torch.testing.assert_close(found / scale, expected)
    slow = scaled.gradient(torch.ones(2), *torch.tensor([[1e-30, 1e30], [1.0, 1.0]]))
    assert torch.isfinite(slow).all()


def test_adam_takes_steps_along_gradients_whose_squares_would_overflow() -> None:
    for scale in (1e20, 1e38):
        plain, scaled = Adam(TaskMemory(), eps=0.0), Adam(TaskMemory(), eps=0.0)
        for _ in range(5):
            gradient = torch.rand(3) + 0.1
            found = scaled.step(gradient * scale, lr=0.1)
            torch.testing.assert_close(found, plain.step(gradient, lr=0.1))


@pytest.mark.parametrize("build", [IMTLL, UncertaintyWeighting])
@pytest.mark.parametrize("loss", [1e20, 1e38])
def test_a_huge_loss_is_scaled_down(build: type[IMTLL], loss: float) -> None:
    rule, losses = build(), torch.tensor([loss, 1.0])
    start = rule.weights(losses)
    for _ in range(20):
        rule.update(losses)
    assert rule.weights(losses)[0] < 0.7 * start[0]


def test_imtl_and_famo_and_the_geometric_loss_hold_every_pair_of_scales() -> None:
    for first in SCALES:
        for second in SCALES:
            losses = torch.tensor([first, second])
            # The smaller one may be zero in float32, as it ought to be.
            inverse = losses.double().reciprocal()
            expected = (inverse / inverse.sum()).float()
            torch.testing.assert_close(FAMO().weights(losses), expected, rtol=1e-4, atol=0)
            parts = GeometricLoss().weights(losses).double() * losses.double()
            assert parts.tolist() == pytest.approx([(first * second) ** 0.5 / 2] * 2, rel=1e-4)
            rule = IMTL()
            for _ in range(3):
                weights = rule.weights(losses.double(), torch.eye(2, dtype=torch.float64))
            assert torch.isfinite(weights).all()


def test_weights_beyond_the_range_end_at_its_largest_number() -> None:
    losses = torch.tensor([1e-38] + [1e38] * 11)
    largest = torch.finfo(torch.float32).max
    assert float(GeometricLoss().weights(losses)[0]) == largest
    assert torch.isfinite(STCH(mu=0.01, warmup_epochs=0).weights(losses)).all()


@pytest.mark.parametrize("normalize", ["loss", "loss+"])
@pytest.mark.parametrize("scale", SCALES)
def test_mgda_divides_by_losses_of_every_scale(normalize: str, scale: float) -> None:
    rows, losses = random_jacobian(4, 9).float(), torch.rand(4) + 0.1
    expected = MGDA(normalize).weights(losses, rows @ rows.T)
    torch.testing.assert_close(MGDA(normalize).weights(losses * scale, rows @ rows.T), expected)


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.5, 1.0, 2.0, 100.0])
def test_fair_weights_hold_norms_over_sixty_decades(alpha: float) -> None:
    """Of orthogonal rows; others would cancel beyond the digits of float64."""
    norms = torch.tensor([1e-30, 1.0, 1e30]).double()
    weights = FairGrad(alpha=alpha).weights(torch.ones(3).double(), torch.diag(norms.square()))
    expected = norms ** (-2 / (1 + 1 / alpha))
    torch.testing.assert_close(weights / expected, torch.ones_like(weights), atol=1e-6, rtol=0)
