"""Refusing modules and callbacks that cannot be trained, with what to write instead."""

import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import lightning as L
from torch import Tensor
from torch.optim import Optimizer

WATCHED = 6
"""How many parameters are looked at, about."""

SHAPES = (
    r"(?:Using a )?target size \(torch\.Size\(\[{}\]\)\).* input size \(torch\.Size\(\[{}\]\)\)"
)
OUTER_SHAPES = "|".join(
    [
        SHAPES.format(r"(\d\d+|[2-9])((?:, \d+)*)", r"\1, 1\2"),
        SHAPES.format(r"(\d\d+|[2-9]), 1((?:, \d+)*)", r"\3\4"),
    ]
)
"""What torch says of (N,) beside (N, 1), or (N, H, W) beside (N, 1, H, W), with N of 2 or more."""


class Unbuilt(L.Callback):
    """Stands in for a class among the callbacks, whose hooks Lightning calls after the error too.

    Args:
        kind: the class.
    """

    def __init__(self, kind: type) -> None:
        self.kind = kind


def check_callbacks(callbacks: list[Any]) -> None:
    """Refuse a class among the callbacks, where an instance of it is meant.

    Args:
        callbacks: of the Trainer. A class is replaced by a callback that does nothing.
    """
    callbacks[:] = [Unbuilt(each) if isinstance(each, type) else each for each in callbacks]
    for callback in callbacks:
        if isinstance(callback, Unbuilt):
            name = callback.kind.__name__
            raise TypeError(
                "`Trainer(callbacks=)` should hold instances of callbacks. Found the class"
                f" `{name}` itself. Write `{name}()`, with its arguments."
            )


def check_one_optimizer(module: str, found: Any) -> None:
    """Refuse several optimizers.

    Args:
        module: name of the class whose `configure_optimizers` returned them.
        found: what it returned, in any form that Lightning takes.
    """
    several = isinstance(found, (list, tuple))
    if several and len(found) == 2 and isinstance(found[0], (list, tuple)):
        found = found[0]  # the optimizers, beside the schedulers
    if several and len(found) > 1:
        raise ValueError(
            f"`{module}.configure_optimizers` should return one optimizer, which steps with the"
            f" balanced gradients. Found {len(found)}. Give each part of the network a parameter"
            " group of one optimizer, with settings of its own, as in `torch.optim.Adam([{'params':"
            " self.encoder.parameters(), 'lr': 1e-4}, {'params': self.heads.parameters()}])`. No"
            " tasks are balanced in manual optimization, which is no way out."
        )


@contextmanager
def no_gradients(module: str, optimizers: Iterable[Optimizer]) -> Iterator[None]:
    """A context in which no gradient may be written, as `.backward()` does.

    It looks at some parameters all over the network, as it is entered in every step.

    Args:
        module: name of the class whose `task_losses` is called in it.
        optimizers: of the parameters that are trained.
    """
    groups = (group for optimizer in optimizers for group in optimizer.param_groups)
    trained = [parameter for group in groups for parameter in group["params"]]
    watched = trained[:: max(1, len(trained) // WATCHED)]
    before = [(parameter, *_gradient(parameter)) for parameter in watched]
    yield
    for parameter, gradient, version in before:
        now, version_now = _gradient(parameter)
        if now is not None and (now is not gradient or version_now != version):
            raise RuntimeError(
                f"`{module}.task_losses` should return its losses and leave the backward pass to"
                " Lightning. Found gradients that it has written itself. Do not call `.backward()`"
                " in it. For a loss that contains a derivative, take `torch.autograd.grad(...,"
                " create_graph=True)`, which writes none."
            )


@contextmanager
def explained(module: str, first: bool) -> Iterator[None]:
    """A context for `task_losses`, in which torch's errors about labels say what to do.

    Torch only warns of shapes that would compare every prediction with every target. In the first
    step this is an error too; not in later ones, as each change of Python's filters of warnings
    makes it repeat those that it shows once.

    Args:
        module: name of the class whose `task_losses` is called in it.
        first: whether this is a first step.
    """
    with warnings.catch_warnings() if first else nullcontext():
        if first:
            warnings.filterwarnings("error", OUTER_SHAPES, UserWarning)
        try:
            yield
        except (IndexError, ValueError, UserWarning) as error:
            _explain_shapes(module, error)
            _explain_classes(module, error)
            raise


@contextmanager
def whole_graph(module: str) -> Iterator[None]:
    """A context for the backward pass, in which an error about a freed graph says how to keep it.

    Args:
        module: name of the class whose `task_losses` has built the graph.
    """
    try:
        yield
    except RuntimeError as error:
        if "backward through the graph a second time" not in str(error):
            raise
        raise RuntimeError(
            f"`{module}.task_losses` should return losses whose graph is whole. Found that a part"
            " of it has been differentiated before, and freed. Do not call `.backward()` in it, nor"
            " `torch.autograd.grad` on what a loss is computed from, unless with"
            " `create_graph=True`. Detach what is kept from one batch to the next."
        ) from error


def _gradient(parameter: Tensor) -> tuple[Tensor | None, int]:
    """The gradient, and how often it has been changed in place."""
    gradient = parameter.grad
    return gradient, 0 if gradient is None else gradient._version


def _explain_shapes(module: str, error: Exception) -> None:
    """Raise an error of our own for a target that has one axis more or less than a prediction."""
    if not re.match(OUTER_SHAPES, str(error), re.IGNORECASE):
        return
    target, prediction = (
        tuple(map(int, size.split(",")))
        for size in re.findall(r"torch\.Size\(\[([\d, ]+)\]\)", str(error))
    )
    remedy = "target.unsqueeze(1)" if len(target) < len(prediction) else "target.squeeze(1)"
    raise ValueError(
        f"`{module}.task_losses` should compare predictions and targets of one shape. Found a"
        f" target of shape {target} beside a prediction of shape {prediction}, which would compare"
        f" every prediction with every target of the batch. Write `{remedy}` in the line that the"
        " error above points to."
    ) from error


def _explain_classes(module: str, error: Exception) -> None:
    """Raise an error of our own for a label that is no class; torch tells it on the host only."""
    found = re.fullmatch(r"Target (-?\d+) is out of bounds\.", str(error))
    if found is None:
        return
    raise ValueError(
        f"`{module}.task_losses` should give a cross-entropy labels from 0 to C - 1, where C is the"
        " number of outputs of the head, or its `ignore_index` (-100 by default). Found the label"
        f" {found[1]}. Give the head more outputs, or map such labels to `ignore_index`, in the"
        " line that the error above points to."
    ) from error
