"""Computing the losses of a batch once more, leaving no trace."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_mtl.engine.strategies import flattens
from lightning_mtl.engine.task_output import TaskOutput, read_output
from lightning_mtl.engine.trainer_facts import task_losses_after_step

BESIDE_STATE = ("_update_count", "_computed", "_forward_cache")
"""Attributes of a `torchmetrics.Metric` that `update` and `forward` change beside its state."""


class RandomState(NamedTuple):
    """The state of the global generators of torch, of Python's `random` and of NumPy.

    Attributes:
        host: of torch's generator on the host.
        device: of torch's generator on the device, if that is another one.
        python: of `random`.
        numpy: of `numpy.random`.
    """

    host: Tensor
    device: Tensor | None
    python: tuple[Any, ...]
    numpy: dict[str, Any]

    @classmethod
    def now(cls, device: torch.device) -> "RandomState":
        """The state of the generators at this moment; reading it does not wait for the device."""
        on_device = None
        if _accelerated(device):
            on_device = torch.get_device_module(device).get_rng_state(device)
        of_numpy = np.random.get_state(legacy=False)
        assert isinstance(of_numpy, dict)
        return cls(torch.get_rng_state(), on_device, random.getstate(), of_numpy)

    def restore(self, device: torch.device) -> None:
        """Set the generators to this state, so that they repeat what they drew after it."""
        torch.set_rng_state(self.host)
        if self.device is not None:
            torch.get_device_module(device).set_rng_state(self.device, device)
        random.setstate(self.python)
        np.random.set_state(self.numpy)


def replay(
    trainer: L.Trainer, module: Any, batch: Any, start: RandomState, within_step: bool = False
) -> TaskOutput:
    """The task losses of `batch` at the present parameters, without graph, and their counts.

    The same random numbers are drawn as from `start` on, so that dropout drops the same units.
    Buffers (running statistics), metrics, logs and the generators are left as they were.

    Args:
        trainer: gives the strategy and the precision.
        module: a `MultiTaskModule` in training mode.
        batch: on the device.
        start: the generators before the batch's first evaluation.
        within_step: whether `training_step` is running, for which FSDP1 has gathered parameters.
    """
    with without_trace(trainer, module, start):
        if flattens(trainer.strategy) and not within_step:
            returned = task_losses_after_step(trainer, module, batch)
        else:
            returned = module.task_losses(batch)
        output = read_output(type(module).__name__, returned)
    losses = {task: loss.detach() for task, loss in output.losses.items()}
    return TaskOutput(losses, output.counts)


@contextmanager
def without_trace(
    trainer: L.Trainer, module: L.LightningModule, start: RandomState
) -> Iterator[None]:
    """A context in which losses may be computed once more, see `replay`."""
    before = RandomState.now(module.device)
    start.restore(module.device)
    try:
        # With a graph, as in training: a loss may contain a derivative, or register a hook.
        with (
            torch.enable_grad(),
            _buffers_held(module),
            uncounted(module),
            trainer.precision_plugin.train_step_context(),
        ):
            yield
    finally:
        before.restore(module.device)


@contextmanager
def uncounted(module: L.LightningModule) -> Iterator[None]:
    """A context that metrics among the submodules and `log` of the module take no notice of."""
    metrics = [(m, _copied(m)) for m in module.modules() if isinstance(m, Metric)]
    module.log = module.log_dict = _no_log  # type: ignore[method-assign]
    try:
        yield
    finally:
        del module.log, module.log_dict
        for metric, attributes in metrics:
            vars(metric).update(attributes)


@contextmanager
def _buffers_held(module: L.LightningModule) -> Iterator[None]:
    # By owner and name: a module may put a new tensor in a buffer's place.
    buffers = [(owner._buffers, dict(owner._buffers)) for owner in module.modules()]
    values = {buffer: buffer.detach().clone() for buffer in module.buffers()}
    try:
        yield
    finally:
        for registered, before in buffers:
            registered.clear()
            registered.update(before)
        with torch.no_grad():
            for buffer, value in values.items():
                buffer.copy_(value)


def _copied(metric: Metric) -> dict[str, Any]:
    """Copies of a metric's state, and what it keeps beside it: counters and computed results."""
    state = {
        name: value.detach().clone() if isinstance(value, Tensor) else list(value)
        for name, value in metric.metric_state.items()
    }
    return {name: vars(metric)[name] for name in BESIDE_STATE if name in vars(metric)} | state


def _no_log(*args: Any, **kwargs: Any) -> None:
    """Log nothing. Replaces `LightningModule.log`: the first evaluation has logged already."""


def _accelerated(device: torch.device) -> bool:
    return device.type not in ("cpu", "meta")
