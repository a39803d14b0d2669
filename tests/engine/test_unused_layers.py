"""A layer that a step does not use is left alone, as in plain training."""

from collections.abc import Sequence

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from tests.support.toy import TASKS, Graded, quiet_trainer, toy_loader, validation
from tests.support.weightings import EXAMPLES


class Skips(Graded):
    """Every other batch leaves out a layer of all tasks and one of the first task alone."""

    def __init__(self) -> None:
        super().__init__(torch.optim.AdamW, lr=0.01)
        self.extra, self.private = nn.Linear(6, 2), nn.Linear(6, 2)

    @property
    def uses(self) -> bool:
        return self.trainer.fit_loop.batch_idx % 2 == 0

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        if self.uses:
            for task in TASKS:
                losses[task] = losses[task] + self.extra(batch[0]).square().mean()
            losses["one"] = losses["one"] + self.private(batch[0]).square().mean()
        return losses


class Look(L.Callback):
    """Notes at each optimizer step whether the two layers have gradients."""

    def __init__(self) -> None:
        self.seen: list[tuple[bool, bool]] = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        layers = (pl_module.extra, pl_module.private)
        self.seen.append(tuple(layer.weight.grad is not None for layer in layers))


@pytest.mark.parametrize("name", [None, *EXAMPLES])
def test_a_layer_that_a_step_skips_gets_no_gradient(name: str | None) -> None:
    look = Look()
    rules = [EXAMPLES[name]()] if name else []
    trainer = quiet_trainer(callbacks=[*rules, look], limit_train_batches=4)
    trainer.fit(Skips(), toy_loader(), validation())
    assert look.seen == [(True, True), (False, False)] * 2
