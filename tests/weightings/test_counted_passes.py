"""A step runs as many passes as its printed price says."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_mtl.callbacks import (
    NTKMTL,
    AdaTask,
    FairGrad,
    LearningRateAnnealing,
    NormBalance,
    ReLoBRaLo,
    SoftAdapt,
    SoftOptimalUncertainty,
    Weighting,
)
from tests.support.toy import TASKS, Toy, quiet_trainer, toy_loader


class Counting(torch.autograd.Function):
    """The identity, which counts the backward passes that come by."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, counts: Counter, kind: str) -> Tensor:
        ctx.counts, ctx.kind = counts, kind
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        ctx.counts[ctx.kind] += 1
        return gradient, None, None


class Counted(Toy):
    """Counts forward passes, backward passes of the heads and those that cross the trunk."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        x, *targets = batch
        self.counts["F"] += 1
        features = self.trunk[1:](Counting.apply(self.trunk[0](x), self.counts, "B"))
        return {
            task: Counting.apply(
                (self.heads[task](features) - target).square().mean(), self.counts, "H"
            )
            for task, target in zip(TASKS, targets, strict=True)
        }


RULES: dict[str, Callable[[], Weighting]] = {
    "AdaTask": AdaTask,
    "FairGrad(priorities)": lambda: FairGrad(priorities={"one": 1.0}),
    "LearningRateAnnealing": LearningRateAnnealing,
    "LearningRateAnnealing(last_layer)": lambda: LearningRateAnnealing(gradients="last_layer"),
    "NTKMTL": NTKMTL,
    "NormBalance": NormBalance,
    "NormBalance(features)": lambda: NormBalance(gradients="features"),
    "NormBalance(last_layer)": lambda: NormBalance(gradients="last_layer"),
    "ReLoBRaLo": ReLoBRaLo,
    "SoftAdapt": SoftAdapt,
    "SoftAdapt(cycle)": lambda: SoftAdapt(cycle=2),
    "SoftOptimalUncertainty": SoftOptimalUncertainty,
}


def printed(price: str) -> dict[str, int]:
    """The passes of a price; those of one layer, and what is stored, cross no trunk."""
    found = {"F": 0, "H": 0, "B": 0}
    times = {"": 1, "K ": len(TASKS), "(K - 1) ": len(TASKS) - 1}
    for part in price.split(", and ")[0].split(" + "):
        for name in found:
            for factor, count in times.items():
                found[name] += count * (part == f"{factor}{name}")
    return found | {"H": found["H"] * len(TASKS)}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_batch_costs_what_is_printed(name: str, accumulate: int) -> None:
    module, rule = Counted(), RULES[name]()
    trainer = quiet_trainer(
        callbacks=[rule], limit_train_batches=4, accumulate_grad_batches=accumulate
    )
    trainer.fit(module, toy_loader())
    price = printed(rule.price_of(accumulate))
    assert dict(module.counts) == {key: 4 * count for key, count in price.items()}
