"""The layers that can be sketched: those which multiply by their weight, and do nothing else."""

import math
from collections.abc import Collection, Iterator

from jaxtyping import Float
from torch import Tensor
from torch.nn import Conv1d, Conv2d, Conv3d, Linear, Module, Parameter
from torch.nn.functional import linear

CONVOLUTIONS = (Conv1d, Conv2d, Conv3d)


def weights_to_sketch(
    module: Module, shared: Collection[Tensor], rows: int
) -> dict[Parameter, list[Module]]:
    """The weights that a sketch makes smaller, each with the layers that it belongs to.

    Args:
        module: whose layers are looked at.
        shared: the parameters that may be sketched.
        rows: of the sketch.
    """
    shared = set(shared)
    compiled = set(_compiled(module))
    found: dict[Parameter, list[Module]] = {}
    for layer in module.modules():
        weight = layer._parameters.get("weight")
        if weight is None or weight not in shared or layer in compiled:
            continue
        if _multiplies(layer) and _is_plain(weight) and math.prod(weight.shape[1:]) > rows:
            found.setdefault(weight, []).append(layer)
    return found


def groups_of(layer: Module) -> int:
    """Into how many groups a layer parts its channels."""
    return layer.groups if isinstance(layer, CONVOLUTIONS) else 1


def project(
    layer: Module,
    x: Float[Tensor, "*input"],
    projection: Float[Tensor, "s *fan_in"],
) -> Float[Tensor, "*projected"]:
    """A x, by what the layer itself would do with A in the place of its weight and without bias."""
    if isinstance(layer, CONVOLUTIONS):
        return layer._conv_forward(x, projection, None)
    return linear(x, projection)


def _multiplies(layer: Module) -> bool:
    """Whether calling a layer runs torch's own code of a linear or a convolution.

    Other layers derive from these and use the weight differently, as those that standardise it do.
    Hooks of a user on the backward pass of a layer are given its inputs as the layer has them.
    """
    if "forward" in vars(layer) or layer._backward_hooks or layer._backward_pre_hooks:
        return False
    kind = type(layer)
    if kind.forward is Linear.forward:
        return True
    return any(
        kind.forward is known.forward
        and getattr(kind, "_conv_forward", None) is known._conv_forward
        for known in CONVOLUTIONS
    )


def _is_plain(weight: Parameter) -> bool:
    """Whether a weight holds real numbers on one device, and no hook changes its gradient."""
    return type(weight) is Parameter and weight.is_floating_point() and not weight._backward_hooks


def _compiled(module: Module) -> Iterator[Module]:
    """The modules within what `torch.compile` has compiled: nothing there calls hooks reliably."""
    for part in module.modules():
        # `_orig_mod` is what `torch.compile` has wrapped; `Module.compile` wraps nothing.
        if part._compiled_call_impl is not None or "_orig_mod" in part._modules:
            yield from part.modules()
