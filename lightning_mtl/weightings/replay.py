"""Computing the losses of a batch once more, leaving no trace."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_mtl.module import MultiTaskModule

BESIDE_STATE = ("_update_count", "_computed", "_forward_cache")
"""Attributes of a `torchmetrics.Metric` that `update` and `forward` change beside its state."""


class RandomState(NamedTuple):
    """The state of the global generators: the host's and the device's."""

    host: Tensor
    device: Tensor | None

    @classmethod
    def now(cls, device: torch.device) -> "RandomState":
        """The state of the generators at this moment; reading it does not wait for the device."""
        if not _accelerated(device):
            return cls(torch.get_rng_state(), None)
        on_device = torch.get_device_module(device).get_rng_state(device)
        return cls(torch.get_rng_state(), on_device)

    def restore(self, device: torch.device) -> None:
        """Set the generators to this state, so that they repeat what they drew after it."""
        torch.set_rng_state(self.host)
        if self.device is not None:
            torch.get_device_module(device).set_rng_state(self.device, device)


def replay(
    trainer: L.Trainer, module: MultiTaskModule, batch: Any, start: RandomState
) -> dict[str, Tensor]:
    """The task losses of `batch` at the present parameters, without graph.

    The same random numbers are drawn as from `start` on, so that dropout drops the same units.
    Buffers (running statistics), metrics, logs and the generators are left as they were.

    Args:
        trainer: gives the precision.
        module: in training mode.
        batch: on the device.
        start: the generators before the batch's first evaluation.
    """
    before = RandomState.now(module.device)
    start.restore(module.device)
    with torch.no_grad(), _untouched(module), trainer.precision_plugin.train_step_context():
        returned = module.task_losses(batch)
    before.restore(module.device)
    return {
        task: value if isinstance(value, Tensor) else value[0] for task, value in returned.items()
    }


@contextmanager
def _untouched(module: L.LightningModule) -> Iterator[None]:
    # By owner and name: a module may put a new tensor in a buffer's place.
    buffers = [(owner._buffers, dict(owner._buffers)) for owner in module.modules()]
    values = {buffer: buffer.clone() for buffer in module.buffers()}
    metrics = [(m, _copied(m)) for m in module.modules() if isinstance(m, Metric)]
    module.log = module.log_dict = _no_log  # type: ignore[method-assign]
    try:
        yield
    finally:
        del module.log, module.log_dict
        for registered, before in buffers:
            registered.clear()
            registered.update(before)
        for buffer, value in values.items():
            buffer.copy_(value)
        for metric, attributes in metrics:
            vars(metric).update(attributes)


def _copied(metric: Metric) -> dict[str, Any]:
    """Copies of a metric's state, and what it keeps beside it: counters and computed results."""
    state = {
        name: value.clone() if isinstance(value, Tensor) else list(value)
        for name, value in metric.metric_state.items()
    }
    return {name: vars(metric)[name] for name in BESIDE_STATE if name in vars(metric)} | state


def _no_log(*args: Any, **kwargs: Any) -> None:
    """Log nothing. Replaces `LightningModule.log`: the first evaluation has logged already."""


def _accelerated(device: torch.device) -> bool:
    return device.type not in ("cpu", "meta")
