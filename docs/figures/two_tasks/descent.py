"""One run on the landscape: a module of two parameters, a Trainer, and the path that it takes."""

from functools import partial
from typing import Any

import lightning as L
import numpy as np
import torch
from jaxtyping import Float
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from numpy.typing import NDArray
from torch import Tensor, nn

from lightning_mtl import MultiTaskModule
from lightning_mtl.callbacks import Weighting
from two_tasks.landscape import SCALES, TASKS, task_losses

EPOCHS = 10
LR = 0.15
BETAS = (0.5, 0.9)
"""Decays of Adam: 1 / (1 - 0.9) = 10 steps are about the same part of 300, the length of a run
here, as 1 / (1 - 0.999) = 1000 steps are of 35,000, that in the code of Navon et al."""


class TwoParameters(MultiTaskModule):
    """A point of the landscape, which both tasks share; there are no heads.

    Args:
        start: the point at which training starts.
        steps: the length of the training, over whose last third the learning rate falls to 0.

    Attributes:
        features: the point of the last step, as the features of one sample.
        path: the start, and the point after each step.
    """

    task_names = TASKS
    log_tasks = False
    prog_bar = False

    def __init__(self, start: tuple[float, float], steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.position = nn.Parameter(torch.tensor(start))
        self.features: Float[Tensor, "1 2"] = self.position[None]
        self.path: list[list[float]] = [list(start)]

    def task_losses(self, batch: Any) -> dict[str, Float[Tensor, ""]]:
        """The losses at the current point. Called for each step; there is no data."""
        self.features = self.position[None]
        return dict(zip(TASKS, task_losses(*self.features[0]), strict=True))

    def shared_features(self) -> Float[Tensor, "1 2"]:
        """The current point, as the features of one sample: both losses are computed from it."""
        return self.features

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Keep the current point. Called by the Trainer after each step."""
        self.path.append(self.position.tolist())

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log how well each task performs, from 0 to 1: its least loss, over its loss.

        Called after each epoch.
        """
        losses = self.task_losses(batch)
        least = dict(zip(TASKS, SCALES, strict=True))
        performance = {f"val/{task}": least[task] / loss for task, loss in losses.items()}
        self.log_dict(performance, batch_size=1)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam, with a learning rate that falls in the end. Called when training starts."""
        optimizer = torch.optim.Adam(self.parameters(), lr=LR, betas=BETAS)
        factor = partial(_falling, steps=self.steps)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def descend(weighting: Weighting, start: tuple[float, float], steps: int) -> Float[NDArray, "n 2"]:
    """The path of a training with this weighting: the start, and the point after each step.

    Args:
        weighting: a new one, that has not been trained with.
        start: the point at which training starts.
        steps: the number of optimizer steps, a multiple of the ten epochs.

    Raises:
        ValueError: if the epochs would not have the same number of steps.
    """
    if steps <= 0 or steps % EPOCHS:
        raise ValueError(
            f"`descend(steps=)` should be a positive multiple of {EPOCHS}, the number of epochs."
            f" Found {steps}. Use {max(1, round(steps / EPOCHS)) * EPOCHS}."
        )
    module = TwoParameters(start, steps)
    trainer = L.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        callbacks=weighting,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    # The batches are the numbers of the steps, which nobody reads.
    trainer.fit(module, range(steps // EPOCHS), range(1))
    return np.array(module.path)


def _falling(step: int, steps: int) -> float:
    return min(1.0, 3 * (1 - step / steps))
