"""How many operations a step dispatches after its last backward pass of the trunk."""

import statistics
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class Count(TorchDispatchMode):
    """Counts operations, and those since the backward pass that last ran through the trunk.

    Attributes:
        total: of all operations so far.
        since: of those after the last backward pass of the trunk.
        trunk_pass: the number that autograd gave to that pass.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = self.since = 0
        self.trunk_pass: int | None = None

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        self.total += 1
        self.since += 1
        if self.trunk_pass is not None and self.trunk_pass == _running_pass():
            self.since = 0
        return function(*args, **kwargs or {})

    def note_trunk(self, gradient: Tensor) -> None:
        """Remember which pass is running. Called where a gradient reaches the first layer."""
        self.trunk_pass = _running_pass()
        self.since = 0


class Operations(L.Callback):
    """Counts the operations of the last steps of a fit. Stands after all other callbacks.

    Args:
        first: the number of the first step that counts.

    Attributes:
        between: for each step, those from the end of the last trunk pass to the optimizer.
        whole: for each step, all of them.
    """

    def __init__(self, first: int) -> None:
        self.first = first
        self.between: list[int] = []
        self.whole: list[int] = []
        self.mode: Count | None = None

    def on_train_start(self, trainer, pl_module) -> None:
        layer = pl_module.network.first_layer()
        self.handle = layer.register_forward_hook(self._watch)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if batch_idx >= self.first:
            self.mode = Count()
            self.found = 0
            self.mode.__enter__()

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        if self.mode is not None:
            self.found += self.mode.since

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if self.mode is not None:
            self.mode.__exit__(None, None, None)
            self.between.append(self.found)
            self.whole.append(self.mode.total)
            self.mode = None

    def on_train_end(self, trainer, pl_module) -> None:
        self.handle.remove()

    def medians(self) -> tuple[float, float]:
        """Operations of a step: between trunk and optimizer, and all of them."""
        return statistics.median(self.between), statistics.median(self.whole)

    def _watch(self, layer: Any, args: Any, output: Tensor) -> None:
        if self.mode is not None and output.requires_grad:
            output.register_hook(self.mode.note_trunk)


def _running_pass() -> int:
    """The number of the backward pass that is running, -1 outside of one."""
    return torch._C._current_graph_task_id()
