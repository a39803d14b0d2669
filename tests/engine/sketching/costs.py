"""Counted cost of a step with exact rows, with a sketch, and without either."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge, saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from lightning_mtl.engine.sketching.sketch import Sketch
from tests.engine.sketching.networks import Heads


def plain_step(module: Heads, x: Tensor, targets: Tensor) -> None:
    torch.stack(list(module.losses(x, targets))).sum().backward()


def exact_step(module: Heads, x: Tensor, targets: Tensor) -> None:
    """Every head once, and K backward passes of the trunk, whose rows are combined afterwards."""
    features, cotangents = _differentiate_heads(module, x, targets)
    for cotangent in cotangents:
        shared = list(module.trunk.parameters())
        torch.autograd.grad(features, shared, cotangent, retain_graph=True)


def sketched_step(module: Heads, x: Tensor, targets: Tensor, rows: int = 16) -> None:
    """Every head once, K backward passes for the sketch, and the one that trains."""
    with Sketch(module.trunk, list(module.trunk.parameters()), rows, seed=0) as sketch:
        features, cotangents = _differentiate_heads(module, x, targets)
        sketch.settle([get_gradient_edge(features)])
        for cotangent in cotangents:
            torch.autograd.grad(features, sketch.inputs, cotangent, retain_graph=True)
        sketch.pause()
        features.backward(torch.stack(cotangents).sum(0))


def _differentiate_heads(
    module: Heads, x: Tensor, targets: Tensor
) -> tuple[Tensor, Sequence[Tensor]]:
    features = module.trunk(x)
    cotangents = []
    for head, target in zip(module.heads, targets, strict=True):
        leaf = features.detach().requires_grad_()
        (head(leaf) - target).square().mean().backward()
        cotangents.append(leaf.grad)
    return features, cotangents


class Flops(TorchDispatchMode):
    """What torch's `FlopCounterMode` counts, without its hooks on the outputs of modules.

    A hook that might change a gradient there makes a layer exact.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        result = function(*args, **kwargs or {})
        formula = flop_registry.get(function._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **kwargs or {}, out_val=result)
        return result


def count_flops(step: Any, *arguments: Any) -> int:
    with Flops() as counter:
        step(*arguments)
    return counter.total


def count_saved(module: Heads, x: Tensor, targets: Tensor, rows: int = 0) -> int:
    """How many numbers the graph of a forward pass holds beside parameters, each of them once."""
    own = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    saved: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    sketch = Sketch(module.trunk, list(module.trunk.parameters()), rows or 10_000, seed=0)
    with sketch, saved_tensors_hooks(pack, lambda tensor: tensor):
        losses = module.losses(x, targets)
    assert losses
    return sum(tensor.numel() for tensor in saved.values())
