"""Fixed weights from one short run, and what they and random ones reach on validation."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import lightning as L
import numpy as np

from lightning_mtl.diagnosis.dead import dead_tasks
from lightning_mtl.diagnosis.even_weights import averaged_gramian, condition_number, even_weights
from lightning_mtl.diagnosis.gradients import gradient_series
from lightning_mtl.diagnosis.record import Record
from lightning_mtl.diagnosis.wording import listed
from lightning_mtl.evaluation.results import directions_of, primary_of
from lightning_mtl.metrics import multi_task_performance
from lightning_mtl.module import MultiTaskModule

Weights = Mapping[str, float]

SHARE = 0.2
"""The part of a run that tuning takes by default."""


class Evened(NamedTuple):
    """Weights that even out the gradients of a run, and what they come from.

    Attributes:
        weights: by the names of the tasks; their sum is the number of tasks.
        norms: of the averaged gradients, without weights.
        before: the condition number of their Gramian.
        after: the same with the weights.
        steps: of the run.
    """

    weights: dict[str, float]
    norms: dict[str, float]
    before: float
    after: float
    steps: int


class Candidate(NamedTuple):
    """Weights that were tried on validation.

    Attributes:
        name: how they were found.
        weights: by the names of the tasks.
        improvement: the mean relative improvement over equal weights in percent.
    """

    name: str
    weights: dict[str, float]
    improvement: float


class Budget(L.Callback):
    """Ends a run after some of its steps.

    Args:
        steps: how many; by default a fifth of those that the Trainer would take.

    Attributes:
        steps: how many, once training has started.
    """

    def __init__(self, steps: int | None = None) -> None:
        self.steps = steps

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Find out how many steps there are. Called when the loaders are known.

        Raises:
            ValueError: if the run has no end.
        """
        if self.steps is None:
            steps = trainer.estimated_stepping_batches
            if not math.isfinite(steps):
                raise ValueError(
                    "The run should have an end, of which tuning takes a fifth. Found none. Give"
                    " `--steps`, or `--trainer.max_epochs`."
                )
            self.steps = max(math.ceil(SHARE * steps), 1)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Stop the Trainer when the steps are taken. Called after each batch."""
        if self.steps is not None and trainer.global_step >= self.steps:
            trainer.should_stop = True


def evened(record: Record) -> Evened:
    """The weights that even out the gradients that were measured.

    Args:
        record: of a run with equal weights.

    Raises:
        ValueError: if the run broke off, a task is dead, or too little was measured.
    """
    if record.events:
        event = record.events[0]
        raise ValueError(
            f"The {event.where} of `{event.task}` should be finite. Found that it is not at step"
            f" {event.step}. Look at its labels, or lower the learning rate."
        )
    if dead := dead_tasks(record):
        task, reason = next(iter(dead.items()))
        raise ValueError(
            f"Every task should be trained. Found that {reason}: `{task}`. See what"
            " `lightning-mtl doctor` says of it, or leave the task out."
        )
    series = gradient_series(record.tasks, record.measurements)
    if not np.isfinite(series.correlations).any(0).all():
        raise ValueError(
            "A run should measure the gradients of every pair of tasks together. Found that of"
            f" {listed(record.tasks)} some pair was not measured in {record.steps} steps. Give"
            " more `--steps`."
        )
    gramian = averaged_gramian(series)
    weights = even_weights(gramian)
    return Evened(
        weights=dict(zip(record.tasks, weights.tolist(), strict=True)),
        norms=dict(zip(record.tasks, np.sqrt(gramian.diagonal()).tolist(), strict=True)),
        before=condition_number(gramian),
        after=condition_number(gramian, weights),
        steps=record.steps,
    )


def compare_candidates(
    results: Callable[[Weights], Mapping[str, float]],
    directions: Mapping[str, bool],
    weights: dict[str, float],
    count: int,
    seed: int,
) -> list[Candidate]:
    """Equal, evened and random weights, by their improvement over equal weights on validation.

    Args:
        results: trains with weights, and gives the primary metric of each task on validation.
        directions: whether higher is better, for each task.
        weights: that even out the gradients.
        count: how many random weights to try.
        seed: of the random weights.
    """
    # Imported late: without random weights nothing needs Optuna.
    from lightning_mtl.diagnosis.random_weights import random_weights

    equal = dict.fromkeys(weights, 1.0)
    baselines = results(equal)

    def improvement(tried: Weights) -> float:
        return float(multi_task_performance(results(tried), baselines, directions))

    found = [Candidate("equal", equal, 0.0), Candidate("even gradients", weights, 0.0)]
    found[1] = found[1]._replace(improvement=improvement(weights))
    drawn = random_weights(list(weights), count, seed, improvement)
    return [*found, *(Candidate(f"random {n}", *each) for n, each in enumerate(drawn, 1))]


def primary_columns(module: MultiTaskModule, tasks: Sequence[str]) -> dict[str, tuple[str, bool]]:
    """For each task the column of its primary metric, and whether higher is better.

    Args:
        module: whose metrics they are.
        tasks: names of the tasks.

    Raises:
        ValueError: if a task has no metric with a direction.
    """
    metrics, found = module.task_metrics(), {}
    for task in tasks:
        name = primary_of(metrics[task]) if task in metrics else None
        if name is None:
            raise ValueError(
                f"`{type(module).__name__}.task_metrics` should have a metric with a direction for"
                f" every task, by which weights are compared. Found none of `{task}`. Add one, or"
                " leave `--random` out."
            )
        found[task] = f"val/{task}/{name}", bool(directions_of(metrics[task])[name])
    return found
