"""Losses that are tensors of a class of their own, as other packages return them."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.toy import Toy, parameters, quiet_trainer, toy_loader
from tests.support.weightings import EXAMPLES, ROUTES


class Labelled(Tensor):
    """A tensor with a label, which results of operations lack: they fail where it is asked for."""

    label: str

    def detach(self) -> "Labelled":
        copy = super().detach()
        copy.label = self.label
        return copy


class LabelledLosses(Toy):
    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        return {task: loss.as_subclass(Labelled) for task, loss in losses.items()}


@pytest.mark.parametrize("name", [None, *ROUTES.values()])
def test_they_train_as_ordinary_tensors_do(name: Any) -> None:
    trained = []
    for kind in (Toy, LabelledLosses):
        module = kind()
        callbacks = [EXAMPLES[name]()] if name else []
        quiet_trainer(callbacks=callbacks, max_steps=4).fit(module, toy_loader())
        trained.append(parameters(module))
    assert torch.equal(*trained)
