"""Refusing bad losses without making the host wait for the device."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import lightning as L
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torchmetrics import Metric

from lightning_mtl.engine.errors import (
    NegativeLossError,
    NonFiniteBufferError,
    NonFiniteLossError,
    NonFiniteParameterError,
)


class Watched(NamedTuple):
    """The losses of one micro-batch, until they have been checked.

    Attributes:
        tasks: their names.
        losses: on the host, or on their way there.
        step: the number of the optimizer step.
        positive_for: name of the weighting that needs them to be positive, if one does.
    """

    tasks: tuple[str, ...]
    losses: Float[Tensor, " K"]
    step: int
    positive_for: str | None

    def check(self) -> None:
        """Raise if the module should not be trained by these losses."""
        if not bool(torch.isfinite(self.losses).all()):
            raise NonFiniteLossError(self._where(~torch.isfinite(self.losses)), self.step)
        if self.positive_for is not None and bool((self.losses < 0).any()):
            raise NegativeLossError(self.positive_for, self._where(self.losses < 0), self.step)

    def _where(self, bad: Bool[Tensor, " K"]) -> dict[str, float]:
        losses = zip(self.tasks, self.losses.tolist(), bad.tolist(), strict=True)
        return {task: loss for task, loss, is_bad in losses if is_bad}


class LossGuard:
    """Raises for a step with a bad loss, as soon as the host knows it.

    Losses have to be finite, and under some weightings positive; zero is the loss of a batch
    without a valid label.

    On the CPU the host knows them at once, before the backward pass. On an accelerator they are
    copied to the host behind the step and checked when they have arrived, at the latest before a
    checkpoint is written: none is ever saved after a bad step.
    """

    def __init__(self) -> None:
        self._pending: list[tuple[Watched, torch.Event]] = []

    def watch(
        self,
        tasks: Sequence[str],
        losses: Float[Tensor, " K"],
        step: int,
        positive_for: str | None = None,
    ) -> None:
        """Check these losses, now or when they arrive; see `Watched`."""
        self.check(wait=False)
        losses = losses.detach()
        if losses.device.type == "cpu":
            Watched(tuple(tasks), losses, step, positive_for).check()
            return
        # Blocking neither side: a pinned buffer to copy into, an event to ask whether it is full.
        host = torch.empty(losses.shape, dtype=losses.dtype, pin_memory=True)
        host.copy_(losses, non_blocking=True)
        arrived = torch.Event(losses.device)
        arrived.record()
        self._pending.append((Watched(tuple(tasks), host, step, positive_for), arrived))

    def check(self, wait: bool = True) -> None:
        """Look at all losses that have arrived; with `wait`, at all there are."""
        while self._pending:
            watched, arrived = self._pending[0]
            if wait:
                arrived.synchronize()
            elif not arrived.query():
                return
            self._pending.pop(0)
            watched.check()


def check_finite(parameters: Iterable[tuple[str, Tensor]]) -> None:
    """Refuse parameters that are not finite. Waits for the device; as saving them does."""
    bad = [name for name, value in parameters if not bool(value.isfinite().all())]
    if bad:
        raise NonFiniteParameterError(bad)


def check_finite_buffers(module: nn.Module) -> None:
    """Refuse buffers that are spoiled. Waits for the device; as saving them does.

    Only what is saved is looked at. NaN is refused everywhere but in metrics, whose state may be
    undefined. Infinity is refused in running statistics, which torch and its users name
    `running_...`; elsewhere it may be meant, as in a mask of -inf or a best value so far.
    """
    bad = [
        name
        for name, value in _saved_buffers(module)
        if bool(value.isnan().any())
        or (name.rpartition(".")[2].startswith("running_") and bool(value.isinf().any()))
    ]
    if bad:
        raise NonFiniteBufferError(bad)


def _saved_buffers(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """The floating-point buffers of a module and its submodules, without those of metrics."""
    if isinstance(module, Metric):
        return
    for name, value in module.named_buffers(prefix, recurse=False):
        unsaved = name.rpartition(".")[2] in module._non_persistent_buffers_set
        if not unsaved and (value.is_floating_point() or value.is_complex()):
            yield name, value
    for name, child in module.named_children():
        yield from _saved_buffers(child, f"{prefix}.{name}".lstrip("."))


def check_automatic(module: L.LightningModule) -> None:
    """Refuse manual optimization, in which nothing calls the module's backward pass."""
    if not module.automatic_optimization:
        name = type(module).__name__
        raise ValueError(
            f"`{name}` should be trained in automatic optimization, in which Lightning calls the"
            f" backward pass and the optimizer. Found `{name}.automatic_optimization = False`, in"
            " which both are left to a `training_step` of your own, and no tasks are balanced."
            " Remove it, and put the work of a step into `task_losses`; make of several optimizers"
            " one, with a parameter group for each."
        )
