"""Stochastic weight averaging with batch norm, whose last epoch takes forward passes only."""

from copy import deepcopy

import pytest
import torch
from lightning.pytorch.callbacks import StochasticWeightAveraging
from torch import Tensor, nn

from lightning_mtl.callbacks import AlternatingUpdates
from tests.support.toy import Graded, quiet_trainer, toy_loader, validation
from tests.support.weightings import EXAMPLES, ROUTES

EVERY = {name: EXAMPLES[name] for name in ROUTES.values()} | {
    "AlternatingUpdates": AlternatingUpdates,
    "AlternatingUpdates(pairs)": lambda: AlternatingUpdates(2, regroup="epoch", order="random"),
}


class Normed(Graded):
    """A trunk that ends with batch norm; `averaged` is a copy as the last epoch finds it."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk.append(nn.BatchNorm1d(8))
        self.averaged: list[nn.Sequential] = []

    def on_train_batch_start(self, batch: list[Tensor], batch_idx: int) -> None:
        if self.current_epoch == 3 and batch_idx == 0:
            self.averaged.append(deepcopy(self.trunk))


@pytest.mark.parametrize("name", EVERY)
def test_the_statistics_are_those_of_the_averaged_network(name: str) -> None:
    module = Normed()
    averaging = StochasticWeightAveraging(0.01, swa_epoch_start=1)
    trainer = quiet_trainer(callbacks=[averaging, EVERY[name]()], max_epochs=3)
    batches = toy_loader(samples=12)
    trainer.fit(module, batches, validation())
    (expected,) = module.averaged
    with torch.no_grad():
        for x, *_ in batches:
            expected(x)
    found = module.trunk[-1]
    assert int(found.num_batches_tracked) == len(batches)
    torch.testing.assert_close(found.running_mean, expected[-1].running_mean)
    torch.testing.assert_close(found.running_var, expected[-1].running_var)
    # Lightning steps once more at the end of that epoch, with the gradients of the last step.
    assert trainer.global_step == 3 * len(batches) + 1
