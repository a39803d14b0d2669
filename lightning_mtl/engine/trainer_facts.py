"""What the engine asks of Lightning's Trainer where there is no public way to ask.

All uses of Lightning's private attributes are in this file, and those of its progress bar.
"""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import lightning as L
import torch
from rich.progress import Progress
from torch import Tensor

LOGGED = (torch.float32, torch.float64)
"""The dtypes that Lightning logs as they are."""


def steps_after_this_batch(trainer: L.Trainer) -> bool:
    """Whether the optimizer steps after the current batch, which ends a window."""
    return not trainer.fit_loop._should_accumulate()


def has_static_graph(strategy: Any) -> bool:
    """Whether DDP was told that every step has one and the same graph; known before it starts."""
    return bool(getattr(strategy, "_ddp_kwargs", {}).get("static_graph", False))


def task_losses_after_step(trainer: L.Trainer, module: Any, batch: Any) -> Any:
    """What `task_losses` returns when it is called outside of `training_step`, under FSDP1.

    The parameters of the outermost unit are gathered in the forward pass of what the strategy has
    wrapped the module in; Lightning takes the same way to `training_step`.
    """
    strategy: Any = trainer.strategy
    if strategy.model is strategy.lightning_module:
        # Units of one's own within the module gather their parameters themselves.
        return module.task_losses(batch)
    return strategy._forward_redirection(strategy.model, module, "task_losses", batch)


def skips_backward(trainer: L.Trainer) -> bool:
    """Whether this epoch only runs forward passes, as the last one of stochastic weight averaging.

    It renews the statistics of batch norm: Lightning calls `training_step` for each batch, and
    neither the backward pass nor the optimizer.
    """
    return trainer.fit_loop._skip_backward


def live_bar(trainer: L.Trainer) -> Progress | None:
    """The progress bar of rich, live or finished; `None` if there is another one or none."""
    progress = getattr(trainer.progress_bar_callback, "progress", None)
    return progress if isinstance(progress, Progress) else None


def pause_of_bar(trainer: L.Trainer) -> AbstractContextManager[Any]:
    """Within it, the thread that draws the bar of rich again and again waits.

    Its height changes with its numbers. If the thread drew it while something is printed above it,
    one of the two would move the cursor by the other's height and wipe out lines.
    """
    progress = live_bar(trainer)
    return nullcontext() if progress is None else progress.live._lock


def writes_row(trainer: Any) -> bool:
    """Whether what this batch logs is written down by the loggers. Asked in `on_train_batch_end`.

    A stop that the module's own hook asks for, which comes later, is not known here.
    """
    return bool(trainer._logger_connector.should_update_logs or trainer.fast_dev_run)


def renew_logged(module: Any, values: Mapping[str, Tensor], **options: bool) -> None:
    """Log the values of this step. Called in `on_train_batch_end`.

    The first time a key is logged as users do. Later only its value is replaced, as logging costs
    a third of a millisecond a key. Where no logger writes this step down, values go straight to
    where callbacks and the progress bar read them. (A stop that the module's own hook asks for,
    which comes later, is not known here: the row that Lightning then adds lacks these values.)

    Args:
        module: of the Trainer.
        values: by their keys.
        options: `prog_bar` and `logger`, the same each time.
    """
    trainer = module.trainer
    results, connector = trainer._results, trainer._logger_connector
    logger = options.get("logger", True)
    writes = (logger or trainer.fast_dev_run) and writes_row(trainer)
    new, direct = {}, {}
    for name, value in values.items():
        result = results.get(f"on_train_batch_end.{name}")
        if result is None or not result.is_tensor or value.dtype not in LOGGED:
            new[name] = value
            continue
        # Past the `__setattr__` of a module, which looks each of them up among its parameters.
        state = vars(result)
        state["has_reset"] = not writes
        if writes:
            state["_forward_cache"] = value.detach()
        else:
            direct[name] = value.detach()
    connector._callback_metrics.update(direct)
    if logger:
        connector._logged_metrics.update(direct)
    if options.get("prog_bar", False):
        # These are on the host: of a device, `StepLog` shows only what has arrived.
        shown = {name: value.item() for name, value in direct.items()}
        connector._progress_bar_metrics.update(shown)
    if new:
        module.log_dict(new, on_step=True, on_epoch=False, batch_size=1, **options)


def forget_logged(trainer: L.Trainer, names: Iterable[str]) -> None:
    """Drop the last values of keys that were logged at an earlier step.

    Lightning would log them again at this step, for tasks that are absent from it.
    """
    results: Any = trainer._results
    for name in names:
        results.pop(f"on_train_batch_end.{name}", None)
