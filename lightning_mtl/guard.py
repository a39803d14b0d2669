"""Refusing losses that cannot be trained by, without making the host wait for the device."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class NonFiniteLossError(ValueError):
    """A task loss was NaN or infinite."""

    def __init__(self, losses: dict[str, float], step: int) -> None:
        found = ", ".join(f"`{task}` = {loss}" for task, loss in losses.items())
        super().__init__(
            f"The task losses of step {step} should be finite. Found {found}. Nothing after this"
            " step can be trusted. Look at the labels and the learning rate; in float16, try"
            " `precision='bf16-mixed'`."
        )


class NonFiniteGradientError(ValueError):
    """A task gradient was NaN or infinite although its loss was finite."""

    def __init__(self, tasks: Sequence[str], step: int) -> None:
        super().__init__(
            f"The task gradients of step {step} should be finite. Found NaN or infinity in those of"
            f" {', '.join(f'`{task}`' for task in tasks) or 'several tasks'}. No parameter has been"
            " changed by this step. `Trainer(detect_anomaly=True)` names the operation."
        )


class NonFiniteParameterError(ValueError):
    """A parameter was NaN or infinite when a checkpoint was to be written."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            f"A checkpoint should hold finite parameters. Found NaN or infinity in {len(names)} of"
            f" them, first in `{names[0]}`; nothing was saved. A gradient must have been infinite"
            " although all losses were finite: `Trainer(detect_anomaly=True)` names the operation."
        )


class FiniteGuard:
    """Raises for a step whose losses are not finite, as soon as that is known on the host.

    On the CPU that is at once, before the backward pass. On an accelerator the losses travel to the
    host behind the step, and are looked at when they have arrived: at the latest before a
    checkpoint is written, so that none is ever saved after a bad step.
    """

    def __init__(self) -> None:
        self._pending: list[tuple[tuple[str, ...], int, Tensor, torch.Event]] = []

    def watch(self, tasks: Sequence[str], losses: Float[Tensor, " K"], step: int) -> None:
        """Check these losses, now or when they arrive."""
        self.check(wait=False)
        losses = losses.detach()
        if losses.device.type == "cpu":
            _raise_if_bad(tuple(tasks), losses, step)
            return
        # Blocking neither side: a pinned buffer to copy into, an event to ask whether it is full.
        host = torch.empty(losses.shape, dtype=losses.dtype, pin_memory=True)
        host.copy_(losses, non_blocking=True)
        arrived = torch.Event(losses.device)
        arrived.record()
        self._pending.append((tuple(tasks), step, host, arrived))

    def check(self, wait: bool = True) -> None:
        """Look at all losses that have arrived; with `wait`, at all there are."""
        while self._pending:
            tasks, step, losses, arrived = self._pending[0]
            if wait:
                arrived.synchronize()
            elif not arrived.query():
                return
            self._pending.pop(0)
            _raise_if_bad(tasks, losses, step)


def _raise_if_bad(tasks: tuple[str, ...], losses: Tensor, step: int) -> None:
    if not bool(torch.isfinite(losses).all()):
        values = dict(zip(tasks, losses.tolist(), strict=True))
        bad = {task: value for task, value in values.items() if not abs(value) < float("inf")}
        raise NonFiniteLossError(bad, step)


def check_finite(parameters: Iterable[tuple[str, Tensor]]) -> None:
    """Refuse parameters that are not finite. Waits for the device; as saving them does."""
    bad = [name for name, value in parameters if not bool(value.isfinite().all())]
    if bad:
        raise NonFiniteParameterError(bad)


def check_losses(module: str, losses: Any) -> None:
    """Refuse what is not a dict of differentiable scalars.

    Args:
        module: name of the class whose `task_losses` returned it.
        losses: what it returned.
    """
    name = f"`{module}.task_losses`"
    if not isinstance(losses, dict) or not losses:
        raise TypeError(
            f"{name} should return a dict of at least one task and its loss. Found {losses!r}."
        )
    for task, loss in losses.items():
        if not isinstance(loss, Tensor) or loss.numel() != 1 or loss.ndim:
            found = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"{loss!r}"
            raise ValueError(
                f"{name} should return one scalar tensor per task. Found {found} for the task"
                f" `{task}`. Reduce it to a mean."
            )
        if not loss.requires_grad:
            raise ValueError(
                f"The loss of the task `{task}` has no graph, so it trains nothing. Expected a"
                " tensor computed from the module's parameters. Found one that does not require"
                " gradients. Leave a task without labels out of the dict, and check for"
                " `detach`, `item` and `no_grad`."
            )
