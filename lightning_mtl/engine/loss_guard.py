"""Refusing losses, gradients, parameters and buffers that are not finite."""

import math
from collections.abc import Iterable, Iterator, Sequence

import lightning as L
from jaxtyping import Float
from torch import Tensor, nn
from torchmetrics import Metric

from lightning_mtl.engine.errors import (
    NegativeLossError,
    NonFiniteBufferError,
    NonFiniteGradientError,
    NonFiniteLossError,
    NonFiniteParameterError,
)


def check_losses(
    tasks: Sequence[str], step: int, positive_for: str | None, losses: Float[Tensor, " K"]
) -> None:
    """Refuse losses that the module should not be trained by.

    They have to be finite, and under some weightings positive; zero is the loss of a batch without
    a valid label.

    Args:
        tasks: their names.
        step: the number of the optimizer step.
        positive_for: name of the weighting that needs them to be positive, if one does.
        losses: on the host.
    """
    found = dict(zip(tasks, losses.tolist(), strict=True))
    bad = {task: loss for task, loss in found.items() if not math.isfinite(loss)}
    if bad:
        raise NonFiniteLossError(bad, step)
    negative = {task: loss for task, loss in found.items() if loss < 0}
    if positive_for is not None and negative:
        raise NegativeLossError(positive_for, negative, step)


def check_gradients(tasks: Sequence[str], step: int, sizes: Float[Tensor, " k"]) -> None:
    """Refuse task gradients that are not finite.

    Args:
        tasks: their names.
        step: the number of the optimizer step.
        sizes: one number for each task, on the host; NaN or infinite if its gradient is.
    """
    found = zip(tasks, sizes.tolist(), strict=True)
    bad = [task for task, size in found if not math.isfinite(size)]
    if bad:
        raise NonFiniteGradientError(bad, step)


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
