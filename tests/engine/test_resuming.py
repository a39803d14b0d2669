"""A run that resumes with a batch that lacks tasks is the run that never stopped."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lightning_mtl.callbacks import AlternatingUpdates
from tests.support.toy import TASKS, Graded, parameters, straight_and_resumed
from tests.support.weightings import EXAMPLES

ALL = {**EXAMPLES, "AlternatingUpdates": lambda: AlternatingUpdates(seed=0)}


class Scheduled(Graded):
    """From the tenth batch on, tasks come one by one for a while; before it, all at once."""

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        number = self.trainer.fit_loop.total_batch_idx
        turn = TASKS[number % 3]
        return {turn: losses[turn]} if 9 <= number < 13 else losses


@pytest.mark.parametrize("name", ALL)
def test_a_resume_whose_first_batch_lacks_tasks_is_exact_to_the_bit(
    name: str, tmp_path: Path
) -> None:
    straight, resumed = straight_and_resumed(ALL[name], tmp_path, Scheduled)
    assert torch.equal(parameters(resumed), parameters(straight))
    assert straight.task_weights.keys() == resumed.task_weights.keys()


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
    straight, resumed = straight_and_resumed(ALL[name], tmp_path, LateLayer)
    assert torch.equal(parameters(resumed), parameters(straight))
