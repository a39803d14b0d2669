"""The weighting that prioritises tasks by how well they perform."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import lightning as L
import torch
from jaxtyping import Float
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from lightning_mtl.distributed import sum_over_ranks
from lightning_mtl.tasks.task import Task
from lightning_mtl.weightings.bases.common import Common, Unpack
from lightning_mtl.weightings.bases.loss_weighting import LossWeighting

SMALLEST = 1e-6
"""What an indicator of zero counts as: its logarithm has to be finite."""


@runtime_checkable
class _HasTasks(Protocol):
    """A module whose tasks have primary metrics, as `DensePrediction` is one."""

    tasks: Mapping[str, Task]


class DynamicTaskPriority(LossWeighting):
    """Dynamic task prioritisation: tasks that perform badly weigh more, by a focal loss.

    w_k = -(1 - κ_k)^γ log κ_k, with κ_k in (0, 1] the running average of a performance indicator
    of the task: κ ← α k + (1 - α) κ.

    Guo, Haque, Huang, Yeung & Fei-Fei, "Dynamic Task Prioritization for Multitask Learning", ECCV
    2018, eq. 4 to 6.

    Scale: as that formula has it; w = 1 for a task whose indicator has not been seen, as before the
    first validation.
    Heads: weighted, as the network minimises the weighted sum.
    Deviations: indicators are those of the validation epochs of the training, means over the ranks,
    where the paper has training batches: they cost nothing there. One γ for all tasks. A primary
    metric e of which less is better has no bound; it counts as k = e_1 / (e_1 + e), with e_1 that
    of the first validation: 1/2 at first, and 1 without an error.

    Args:
        gamma: γ >= 0, how little a task counts that performs well.
        alpha: α, the share of the newest indicator in the average.
        indicators: for each task, the name of a logged metric in (0, 1], more is better, such as
            `{"segmentation": "val/segmentation/mIoU", "depth": "val/depth/delta1"}`; a task that is
            not named keeps w = 1. By default the primary metrics of the tasks of a
            `DensePrediction`.
        common: what every weighting takes, see `Weighting`.

    Example:
        >>> rule = DynamicTaskPriority(indicators={"depth": "val/delta1", "labels": "val/mIoU"})
        >>> rule.observe({"depth": 0.9, "labels": 0.5})
        >>> rule.weights(torch.ones(2))
        tensor([0.0105, 0.3466])
    """

    def __init__(
        self,
        gamma: float = 1.0,
        alpha: float = 1.0,
        indicators: dict[str, str] | None = None,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(**common)
        if gamma < 0 or not 0 < alpha <= 1:
            raise ValueError(
                "`DynamicTaskPriority` should have gamma >= 0 and alpha in (0, 1]. Found"
                f" gamma={gamma} and alpha={alpha}. Use alpha=1 to follow the newest indicators"
                " alone."
            )
        self.gamma = gamma
        self.alpha = alpha
        self.indicators = indicators
        self._indicator = self.memory.per_task("indicator", initial=float("nan"))
        self._first = self.memory.per_task("first", initial=float("nan"))
        self._sources = dict(indicators or {})
        self._errors: set[str] = set()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Check module and Trainer as every weighting does, and find which metrics to follow.

        Raises:
            ValueError: if neither the arguments nor the module say which.
        """
        super().setup(trainer, pl_module, stage)
        if self.indicators is not None:
            return
        if not isinstance(pl_module, _HasTasks):
            raise ValueError(
                "`DynamicTaskPriority` should be told how well each task performs: by `indicators`,"
                " or by a `DensePrediction`, whose tasks have primary metrics. Found"
                f" `{type(pl_module).__name__}` and no indicators. Log a metric in (0, 1] for each"
                " task in `validation_step`, and name them:"
                ' `DynamicTaskPriority(indicators={"depth": "val/depth/delta1"})`.'
            )
        tasks = pl_module.tasks
        self._sources = {name: f"val/{name}/{tasks[name].primary_metric}" for name in tasks}
        self._errors = {name for name in tasks if not tasks[name].higher_is_better}

    def weights(self, losses: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """The focal weights -(1 - κ)^γ log κ; 1 for a task whose indicator has not been seen."""
        self._check_names(self._sources)
        average = self._indicator.read(losses)
        kappa = average.clamp(min=SMALLEST, max=1.0)
        focal = -((1 - kappa) ** self.gamma) * kappa.log()
        return torch.where(torch.isnan(average), torch.ones_like(focal), focal)

    def observe(self, indicators: dict[str, float]) -> None:
        """Move the averages towards new indicators. Called after each validation of the training.

        Args:
            indicators: k of some tasks, each in (0, 1].

        Raises:
            ValueError: if a task is unknown, or an indicator out of range.
        """
        self._check_names(indicators)
        tasks = self.tasks or tuple(self._sources)
        for task, value in indicators.items():
            if not 0 <= value <= 1:
                raise ValueError(
                    "The indicators of `DynamicTaskPriority` should lie in (0, 1]. Found"
                    f" {value} for `{task}`. Choose a metric that grows from 0 to 1."
                )
        average = self._indicator.read(torch.empty(len(tasks))).clone()
        for task, value in indicators.items():
            index = tasks.index(task)
            old = torch.where(torch.isnan(average[index]), value, average[index])
            average[index] = self.alpha * value + (1 - self.alpha) * old
        self._indicator.write(average)

    def relative(self, errors: dict[str, float]) -> dict[str, float]:
        """Indicators e_1 / (e_1 + e) of metrics e of which less is better; e_1 is the first e."""
        tasks = self.tasks or tuple(self._sources)
        first = self._first.read(torch.empty(len(tasks))).clone()
        indicators = {}
        for task, error in errors.items():
            index = tasks.index(task)
            first[index] = torch.where(torch.isnan(first[index]), error, first[index])
            reference = float(first[index])
            indicators[task] = reference / (reference + error) if reference + error else 1.0
        self._first.write(first)
        return indicators

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the indicators from the metrics that the training's validation has logged.

        Raises:
            ValueError: if no rank has logged one.
        """
        fitting = trainer.state.fn == TrainerFn.FITTING
        if not fitting or trainer.sanity_checking or not self.tasks:
            return
        values = self._logged(trainer.callback_metrics, pl_module.device)
        errors = {task: value for task, value in values.items() if task in self._errors}
        self.observe(values | self.relative(errors))

    def _logged(self, metrics: dict[str, Tensor], device: torch.device) -> dict[str, float]:
        """The mean of each metric over the ranks that have logged it, by task.

        Without `sync_dist`, ranks log different values.
        """
        not_logged = torch.zeros(2)
        values = [
            torch.stack([metrics[name].cpu().float(), torch.ones(())])
            if name in metrics
            else not_logged
            for name in self._sources.values()
        ]
        sums, counts = sum_over_ranks(torch.stack(values, 1).to(device)).cpu()
        pairs = zip(self._sources.values(), counts.tolist(), strict=True)
        missing = [name for name, count in pairs if count == 0]
        if missing:
            raise ValueError(
                f"The validation should log the indicators {missing} of `DynamicTaskPriority`."
                f" Found that it has logged {', '.join(sorted(metrics)) or 'nothing'}. Log them, or"
                " name other metrics in `indicators`."
            )
        return dict(zip(self._sources, (sums / counts).tolist(), strict=True))

    def _check_names(self, named: dict[str, str] | dict[str, float]) -> None:
        tasks = self.tasks or tuple(self._sources)
        unknown = [task for task in named if task not in tasks]
        if unknown:
            raise ValueError(
                f"`DynamicTaskPriority` should have indicators of tasks among {list(tasks)}. Found"
                f" {unknown}. Correct the names in `indicators`."
            )
