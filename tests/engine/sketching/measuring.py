"""Gradients of several losses of one forward pass, from a sketch and exactly."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from lightning_mtl.engine.gradients import Gradients, gramian, zeros_for_none
from lightning_mtl.engine.sketching.sketch import Sketch

Losses = Callable[[], Sequence[Tensor]]
"""Runs a network, and returns its losses with their graph."""


def trainable(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def differentiate(losses: Sequence[Tensor], inputs: Sequence[Tensor]) -> list[Gradients]:
    return [
        zeros_for_none(
            torch.autograd.grad(loss, inputs, retain_graph=True, allow_unused=True), inputs
        )
        for loss in losses
    ]


def exact_rows(module: nn.Module, run: Losses) -> list[Gradients]:
    return differentiate(run(), trainable(module))


def sketched_rows(
    module: nn.Module, run: Losses, rows: int = 2, seed: int = 0
) -> tuple[list[Gradients], Sketch]:
    with Sketch(module, trainable(module), rows, seed) as sketch:
        losses = run()
        sketch.settle([get_gradient_edge(loss) for loss in losses])
        return differentiate(losses, sketch.inputs), sketch


def projected_rows(module: nn.Module, run: Losses, sketch: Sketch) -> list[Gradients]:
    """The exact gradients, projected by hand as the sketch projects them."""
    parameters = trainable(module)
    rows = []
    for row in exact_rows(module, run):
        gradients = dict(zip(parameters, row, strict=True))
        projected = [_project(gradients[weight], weight, sketch) for weight in sketch.sketched]
        rows.append(projected + [gradients[parameter] for parameter in sketch.exact])
    return rows


def _project(gradient: Tensor, weight: Tensor, sketch: Sketch) -> Tensor:
    own = sketch._weights[weight]
    parts = gradient.flatten(1).chunk(own.groups)
    signs = own.projection.flatten(1).chunk(own.groups)
    return torch.cat([part @ rows.T for part, rows in zip(parts, signs, strict=True)])


def relative_errors(estimate: Tensor, exact: Tensor) -> Tensor:
    """Of Gramians, in units of |g_i| |g_j|."""
    lengths = exact.diagonal().sqrt()
    return (estimate - exact) / torch.outer(lengths, lengths)


def errors(module: nn.Module, run: Losses, rows: int, seeds: Sequence[int]) -> Tensor:
    """Relative errors of the Gramians of several sketches."""
    exact = gramian(exact_rows(module, run))
    estimates = [gramian(sketched_rows(module, run, rows, seed)[0]) for seed in seeds]
    return torch.stack([relative_errors(estimate, exact) for estimate in estimates])
