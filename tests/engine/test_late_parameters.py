"""A layer that is used for the first time during a run trains as if it had been there before."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_mtl.callbacks import (
    MGDA,
    EqualWeighting,
    GeometricLoss,
    GradNorm,
    NashMTL,
    PCGrad,
    UPGrad,
)
from tests.support.toy import TASKS, Toy, parameters, quiet_trainer, toy_loader


class Late(Toy):
    """From the fourth batch on, layers of one, two or all tasks join in.

    Args:
        users: the tasks whose losses use the late layer.
        always: whether it is in the graph from the start, times zero.
    """

    def __init__(self, users: Sequence[str], always: bool) -> None:
        super().__init__()
        self.late = nn.Linear(6, 2)
        self.users, self.always = users, always

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        share = float(self.trainer.fit_loop.batch_idx >= 3)
        if share or self.always:
            for task in self.users:
                losses[task] = losses[task] + share * self.late(batch[0]).square().mean()
        return losses


RULES: dict[str, Any] = {
    "none": None,
    "EqualWeighting": EqualWeighting,
    "GeometricLoss": GeometricLoss,
    # By default at the last shared layer, which another one may become.
    "GradNorm": lambda: GradNorm(layer="trunk.3"),
    "MGDA": MGDA,
    "NashMTL": NashMTL,
    "PCGrad": PCGrad,
    "UPGrad": UPGrad,
}


@pytest.mark.parametrize("users", [TASKS[:1], TASKS[1:], TASKS], ids=["one", "two", "all"])
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_late_layer_trains_as_if_it_had_been_there(
    name: str, users: Sequence[str], accumulate: int
) -> None:
    trained, rule = [], RULES[name]
    for always in (False, True):
        module = Late(users, always)
        trainer = quiet_trainer(
            callbacks=[rule()] if rule else [],
            accumulate_grad_batches=accumulate,
            max_steps=8,
        )
        trainer.fit(module, toy_loader())
        trained.append(parameters(module))
    torch.testing.assert_close(trained[0], trained[1], atol=2e-6, rtol=1e-5)
    start = Late(users, always=True).late.weight
    assert not torch.allclose(module.late.weight, start)
