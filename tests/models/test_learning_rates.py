"""Learning rates that a network multiplies for some of its parameters."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    StepLR,
)

from lightning_mtl import DensePrediction
from lightning_mtl.models import DenseNetwork
from lightning_mtl.tasks import Depth
from tests.support.toy import quiet_trainer
from tests.test_dense_prediction import rooms


class Stitched(DenseNetwork):
    """A network one part of which learns faster."""

    def __init__(self, channels: dict[str, int], factor: float = 100.0) -> None:
        super().__init__(stride=4)
        self.trunk = nn.Conv2d(3, 4, 3, padding=1)
        self.unit = nn.Conv2d(4, 4, 1)
        self.heads = nn.ModuleDict({task: nn.Conv2d(4, n, 1) for task, n in channels.items()})
        self.factor = factor

    def lr_multiplier(self, name: str) -> float:
        return self.factor if name.startswith("unit.") else 1.0

    def predict(self, image: Tensor) -> dict[str, Tensor]:
        features = self.unit(self.trunk(image))
        return {task: head(features) for task, head in self.heads.items()}


SCHEDULES: dict[str, Callable[[Optimizer], Any]] = {
    "cosine": lambda o: CosineAnnealingLR(o, T_max=5),
    "warm restarts": lambda o: CosineAnnealingWarmRestarts(o, T_0=3),
    "exponential": lambda o: ExponentialLR(o, 0.5),
    "lambda": lambda o: LambdaLR(o, lambda epoch: 1 / (1 + epoch)),
    "linear": lambda o: LinearLR(o, total_iters=4),
    "multi step": lambda o: MultiStepLR(o, [1, 3]),
    "polynomial": lambda o: PolynomialLR(o, total_iters=6, power=0.9),
    "step": lambda o: StepLR(o, 2),
}


def module(scheduler: Any = None, factor: float = 100.0) -> DensePrediction:
    return DensePrediction(
        [Depth()],
        lambda channels: Stitched(channels, factor),
        optimizer=lambda parameters: SGD(parameters, lr=0.01),
        scheduler=scheduler,
    )


def rates(optimizer: Optimizer) -> list[float]:
    return [float(group["lr"]) for group in optimizer.param_groups]


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_keeps_the_ratio(name: str) -> None:
    configured = module(SCHEDULES[name]).configure_optimizers()
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    changed = set()
    for _ in range(5):
        slow, fast = rates(optimizer)
        assert fast == pytest.approx(100 * slow)
        changed.add(slow)
        optimizer.step()
        scheduler.step()
    assert len(changed) > 1


def test_a_schedule_that_sets_all_rates_alike_is_refused() -> None:
    with pytest.raises(ValueError, match=r"by \[1\.0, 100\.0\]\. Found `OneCycleLR`.* a list"):
        module(lambda o: OneCycleLR(o, 0.1, total_steps=5)).configure_optimizers()
    module(lambda o: OneCycleLR(o, [0.1, 10.0], total_steps=5)).configure_optimizers()


def test_without_multipliers_there_is_one_group() -> None:
    optimizer = module(factor=1.0).configure_optimizers()
    assert len(optimizer.param_groups) == 1
    assert rates(optimizer) == [0.01]


def test_the_groups_hold_every_parameter_once() -> None:
    network = module()
    optimizer = network.configure_optimizers()
    found = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(found) == len(set(found)) == len(list(network.parameters()))
    fast = optimizer.param_groups[1]["params"]
    assert set(fast) == set(network.network.unit.parameters())


def test_a_step_moves_the_part_as_much_further() -> None:
    def moved(factor: float) -> dict[str, Tensor]:
        torch.manual_seed(0)
        trained = module(factor=factor)
        before = {name: p.detach().clone() for name, p in trained.network.named_parameters()}
        quiet_trainer(max_steps=1, limit_val_batches=1).fit(trained, rooms(2), rooms(2))
        return {name: p.detach() - before[name] for name, p in trained.network.named_parameters()}

    plain, faster = moved(1.0), moved(10.0)
    for name, step in plain.items():
        factor = 10 if name.startswith("unit.") else 1
        torch.testing.assert_close(faster[name], factor * step, atol=1e-6, rtol=1e-3)
