"""What the engine asks of Lightning's Trainer where there is no public way to ask.

All uses of Lightning's private attributes are in this file.
"""

from collections.abc import Iterable
from typing import Any

import lightning as L


def steps_after_this_batch(trainer: L.Trainer) -> bool:
    """Whether the optimizer steps after the current batch, which ends a window."""
    return not trainer.fit_loop._should_accumulate()


def skips_backward(trainer: L.Trainer) -> bool:
    """Whether this epoch only runs forward passes, as the last one of stochastic weight averaging.

    It renews the statistics of batch norm: Lightning calls `training_step` for each batch, and
    neither the backward pass nor the optimizer.
    """
    return trainer.fit_loop._skip_backward


def waits_for_all_gradients(trainer: L.Trainer) -> bool:
    """Whether DDP waits for a gradient of every parameter; not if it looks for unused ones."""
    model: Any = trainer.strategy.model
    return not getattr(model, "find_unused_parameters", False)


def forget_logged(trainer: L.Trainer, names: Iterable[str]) -> None:
    """Drop the last values of keys that were logged at an earlier step.

    Lightning would log them again at this step, for tasks that are absent from it.
    """
    results: Any = trainer._results
    for name in names:
        results.pop(f"on_train_batch_end.{name}", None)
