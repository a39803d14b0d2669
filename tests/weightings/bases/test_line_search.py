"""The warning of L-BFGS under weights that change, and that fixed weights are searched rightly."""

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import LBFGS, SGD
from torch.utils.data import DataLoader

from lightning_mtl.callbacks import (
    DWA,
    FAMO,
    EqualWeighting,
    FixedWeighting,
    GeometricLoss,
    GradNorm,
    UPGrad,
    Weighting,
)
from tests.support.toy import TASKS, Toy, parameters, quiet_trainer, toy_data

WEIGHTS = dict(zip(TASKS, (0.01, 0.3, 20.0), strict=True))


class Searching(Toy):
    """Steps by L-BFGS with a line search."""

    def __init__(self, optimizer: Any = LBFGS) -> None:
        super().__init__(optimizer)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        if self.optimizer is not LBFGS:
            return super().configure_optimizers()
        return LBFGS(self.parameters(), max_iter=5, line_search_fn="strong_wolfe")


def whole_batch() -> DataLoader:
    return DataLoader(toy_data(16), batch_size=16)


def warned(rule: Weighting | None, module: Toy) -> list[str]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        callbacks = [] if rule is None else [rule]
        quiet_trainer(callbacks=callbacks, max_epochs=2).fit(module, whole_batch())
    texts = [str(each.message) for each in found]
    return [text for text in texts if "as those of one function" in text]


@pytest.mark.parametrize(
    "rule", [DWA(), FAMO(), GradNorm(), UPGrad()], ids=lambda rule: type(rule).__name__
)
def test_weights_that_change_are_warned_of_once_with_what_to_do(rule: Weighting) -> None:
    texts = warned(rule, Searching())
    assert len(texts) == 1
    assert f"`{type(rule).__name__}` should have an optimizer that uses each" in texts[0]
    assert "Found `LBFGS`" in texts[0]
    assert "go on with fixed weights" in texts[0]


@pytest.mark.parametrize(
    "rule",
    [
        None,
        EqualWeighting(),
        EqualWeighting(prior={"one": 2.0}),
        FixedWeighting(WEIGHTS),
        GeometricLoss(),
    ],
    ids=lambda rule: type(rule).__name__,
)
def test_one_objective_is_not(rule: Weighting | None) -> None:
    assert not warned(rule, Searching())


def test_other_optimizers_are_not() -> None:
    assert not warned(GradNorm(), Searching(SGD))


class Weighted(Searching):
    """Multiplies its losses itself: the twin of fixed weights."""

    def task_losses(self, batch: Any) -> dict[str, Tensor]:
        return {task: WEIGHTS[task] * loss for task, loss in super().task_losses(batch).items()}


def test_the_line_search_sees_the_weighted_sum() -> None:
    fixed, twin, plain = Searching(), Weighted(), Searching()
    quiet_trainer(callbacks=[FixedWeighting(WEIGHTS)], max_epochs=3).fit(fixed, whole_batch())
    for module in (twin, plain):
        quiet_trainer(max_epochs=3).fit(module, whole_batch())
    torch.testing.assert_close(parameters(fixed), parameters(twin), atol=1e-3, rtol=1e-3)
    assert (parameters(fixed) - parameters(plain)).abs().max() > 0.01


class Recorded(Toy):
    """Keeps its total, and where it was, at each evaluation."""

    def __init__(self) -> None:
        super().__init__(SGD, lr=1e-5)
        self.evaluations: list[tuple[Tensor, Tensor]] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        total = super().training_step(batch, batch_idx)
        self.evaluations.append((total.detach(), parameters(self)))
        return total


@pytest.mark.parametrize("rule", [FixedWeighting(WEIGHTS), GeometricLoss()])
def test_the_slope_of_an_objective_is_the_gradient_of_the_step(rule: Weighting) -> None:
    module = Recorded()
    trainer = quiet_trainer(callbacks=[rule], max_epochs=2, precision="64-true")
    trainer.fit(module, whole_batch())
    (before, start), (after, end) = module.evaluations
    # A small step of gradient descent lowers a function by lr ||g||².
    expected = (start - end).square().sum() / module.lr
    torch.testing.assert_close(before - after, expected, atol=0, rtol=1e-2)
