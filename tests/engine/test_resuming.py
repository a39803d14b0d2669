"""A run that resumes with a batch that lacks tasks or a layer is the run that never stopped."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.support.equivalence import RULES
from tests.support.toy import TASKS, Graded, parameters, straight_and_resumed


class Scheduled(Graded):
    """From the tenth batch on, tasks come one by one for a while; before it, all at once."""

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        number = self.trainer.fit_loop.total_batch_idx
        turn = TASKS[number % 3]
        return {turn: losses[turn]} if 9 <= number < 13 else losses


class LateLayer(Scheduled):
    """A layer that all tasks share was in use before the checkpoint, and is again at the end."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.late = torch.nn.Linear(6, 2)

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        number = self.trainer.fit_loop.total_batch_idx
        if 5 <= number < 9 or number >= 13:
            for task in losses:
                losses[task] = losses[task] + self.late(batch[0]).square().mean()
        return losses


@pytest.mark.parametrize("name", ["MGDA", "MoCo", "GradNorm", "MaxGNR", "AlternatingUpdates"])
def test_what_was_shared_before_the_checkpoint_is_shared_after_it(
    name: str, tmp_path: Path
) -> None:
    straight, resumed = straight_and_resumed(RULES[name], tmp_path, LateLayer)
    assert torch.equal(parameters(resumed), parameters(straight))
