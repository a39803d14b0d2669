"""What a contributor writes to add something: one class, which no other file has to know of."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.callbacks import (
    GramianWeighting,
    JacobianWeighting,
    LossWeighting,
    Weighting,
)
from tests.support.toy import (
    TASKS,
    Graded,
    Toy,
    logged,
    parameters,
    straight_and_resumed,
    weights,
)


class InverseLoss(LossWeighting):
    """w_k = 1 / the mean of L_k so far: it needs the losses only."""

    def __init__(self) -> None:
        super().__init__()
        self.total_loss = self.memory.per_task("total_loss")
        self.steps = self.memory.per_task("steps")

    def weights(self, losses: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        mean = self.total_loss.read(losses) / self.steps.read(losses)
        return torch.where(mean > 0, 1 / mean, 1.0)

    def update(self, losses: Float[Tensor, " K"]) -> None:
        self.total_loss.write(self.total_loss.read(losses) + losses)
        self.steps.write(self.steps.read(losses) + 1)


class InverseNorm(GramianWeighting):
    """w_k = 1 / a moving average of ||g_k||: it needs the inner products of the gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = self.memory.per_task("norm", measured=True)

    def weights(
        self, losses: Float[Tensor, " K"], gramian: Float[Tensor, "K K"]
    ) -> Float[Tensor, " K"]:
        norms = gramian.diagonal().sqrt()
        self.norm.write(0.9 * self.norm.read(norms) + 0.1 * norms)
        return 1 / self.norm.read(norms).clamp(min=1e-12)


class Momentum(JacobianWeighting):
    """The sum of moving averages of the g_k: it needs the gradients themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.average = self.memory.per_parameter("average")

    def combine(
        self, losses: Float[Tensor, " K"], jacobian: Float[Tensor, "K P"]
    ) -> Float[Tensor, " P"]:
        rows = self.average.rows(*jacobian.shape, like=jacobian)
        for row, gradient in zip(rows, jacobian, strict=True):
            row.lerp_(gradient, 0.5)
        return torch.stack(rows).sum(0)


every_base = pytest.mark.parametrize("build", [InverseLoss, InverseNorm, Momentum])


@every_base
def test_a_weighting_is_one_class_that_trains_and_logs(build: Callable[[], Weighting]) -> None:
    module, names = Toy(), {f"train/weight/{task}" for task in TASKS}
    rows = logged(module, build())
    assert not torch.equal(parameters(module), parameters(Toy()))
    assert torch.isfinite(parameters(module)).all()
    # A direction that is made of rows is no weighted sum of them, unless the rule says so.
    assert names & rows[-1].keys() == (set() if build is Momentum else names)


@every_base
def test_a_weighting_is_resumed_with_what_it_declares_to_remember(
    build: Callable[[], Weighting], tmp_path: Path
) -> None:
    straight, resumed = straight_and_resumed(build, tmp_path)
    assert torch.equal(parameters(resumed), parameters(straight))
    assert build is Momentum or bool((weights(straight) - 1).abs().max() > 1e-4)
    assert not torch.equal(parameters(straight), parameters(Graded()))
