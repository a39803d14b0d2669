"""Dynamic task prioritisation."""

import lightning as L
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.callbacks.weighting import LossWeighting


class DynamicTaskPriority(LossWeighting):
    """Dynamic task prioritisation: tasks that perform badly weigh more, by a focal loss.

    w_k = -(1 - κ_k)^γ log κ_k, with κ_k in (0, 1] the running average of a performance indicator
    of the task: κ ← α k + (1 - α) κ.

    Guo, Haque, Huang, Yeung & Fei-Fei, "Dynamic Task Prioritization for Multitask Learning", ECCV
    2018, eq. 4 to 6.

    Scale: as that formula has it; w = 1 for a task whose indicator has not been seen.
    Heads: weighted.
    Deviations: indicators are those of the validation epochs, where the paper has training batches:
    they cost nothing there, and are the same on every rank. One γ for all tasks.

    Args:
        indicators: for each task, the name of a logged metric in (0, 1], more is better, such as
            `{"segmentation": "val/segmentation/mIoU", "depth": "val/depth/delta1"}`.
        gamma: γ >= 0, how little a task counts that performs well.
        alpha: α, the share of the newest indicator in the average.
    """

    def __init__(self, indicators: dict[str, str], gamma: float = 1.0, alpha: float = 1.0) -> None:
        super().__init__()
        if gamma < 0 or not 0 < alpha <= 1:
            raise ValueError(
                "`DynamicTaskPriority` needs gamma >= 0 and alpha in (0, 1]. Found"
                f" gamma={gamma} and alpha={alpha}."
            )
        self.indicators = indicators
        self.gamma = gamma
        self.alpha = alpha

    def weights(self, losses: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """-(1 - κ)^γ log κ."""
        average = self.state.read("indicator", losses, float("nan"))
        kappa = average.clamp(min=1e-6, max=1.0)
        focal = -((1 - kappa) ** self.gamma) * kappa.log()
        return torch.where(torch.isnan(average), torch.ones_like(focal), focal)

    def observe(self, indicators: dict[str, float]) -> None:
        """Move the averages.

        Args:
            indicators: k of some tasks, each in (0, 1].

        Raises:
            ValueError: if a task is unknown, or an indicator out of range.
        """
        tasks = self.tasks or tuple(self.indicators)
        for task, value in indicators.items():
            if task not in tasks or not 0 <= value <= 1:
                raise ValueError(
                    "`DynamicTaskPriority` needs an indicator in (0, 1] of a task among"
                    f" {tasks}. Found {value} for `{task}`. Choose a metric that grows from 0 to 1."
                )
        unseen = torch.full((len(tasks),), float("nan"))
        average = self.state.tensors.get("indicator", unseen).clone()
        for task, value in indicators.items():
            index = tasks.index(task)
            old = torch.where(torch.isnan(average[index]), value, average[index])
            average[index] = self.alpha * value + (1 - self.alpha) * old
        self.state.tensors["indicator"] = average

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the indicators from the logged metrics.

        Raises:
            ValueError: if a metric has not been logged.
        """
        if trainer.sanity_checking or not self.tasks:
            return
        metrics = trainer.callback_metrics
        missing = [name for name in self.indicators.values() if name not in metrics]
        if missing:
            raise ValueError(
                f"`DynamicTaskPriority(indicators=)` should name logged metrics. Found {missing}."
                f" Logged by this validation: {', '.join(sorted(metrics)) or 'nothing'}."
            )
        self.observe({task: float(metrics[name]) for task, name in self.indicators.items()})
