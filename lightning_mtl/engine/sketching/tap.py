"""Where a sketch joins the graph: at the output of a layer, without changing it."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Parameter

from lightning_mtl.engine.gradients import accumulation_dtype


@dataclass(eq=False)
class SketchedWeight:
    """A weight W and its sketch.

    Attributes:
        weight: W, as the layer has it.
        groups: into how many groups its layers part their channels; each has rows of A of its own.
        projection: A, of as many rows for each group, and of the same shape behind.
        leaf: G = 0, a leaf of the graph; what arrives there is the weight's gradient times Aᵀ.
        measured: whether gradients of `leaf` are computed; otherwise there are none.
    """

    weight: Parameter
    groups: int
    projection: Float[Tensor, "rows *fan_in"]
    leaf: Float[Tensor, "out s"]
    measured: bool = False


def tap(
    y: Float[Tensor, "*output"],
    projected: Float[Tensor, "*projected"],
    sketched: SketchedWeight,
) -> Float[Tensor, "*output"]:
    """The output of a layer as it is, in the same memory, with G (A x) in its graph.

    Args:
        y: W x, and a bias.
        projected: A x.
        sketched: W and its sketch.
    """
    return _Tap.apply(y, sketched.leaf, projected, sketched)


class _Tap(torch.autograd.Function):
    """y + G (A x) at G = 0, without the sum."""

    @staticmethod
    def forward(
        ctx: Any, y: Tensor, leaf: Tensor, projected: Tensor, sketched: SketchedWeight
    ) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(projected)
        ctx.sketched = sketched
        # Neither a copy nor, for autograd, a view: the next layer may work in place.
        return y.detach()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> Any:
        if gradient is None or not ctx.sketched.measured:
            return gradient, None, None, None
        (projected,) = ctx.saved_tensors
        return gradient, _contract(gradient, projected, ctx.sketched), None, None


def _contract(gradient: Tensor, projected: Tensor, sketched: SketchedWeight) -> Tensor:
    """Σ g (A x)ᵀ over samples and positions: the gradient of G, summed in float32 at least."""
    if gradient.dtype == torch.float16:
        # A projection is larger than the gradient itself, and float16 ends at 65504.
        gradient, projected = gradient.float(), projected.float()
    if sketched.weight.ndim == 2:
        return _over_rows(gradient, projected)
    if gradient.ndim < sketched.weight.ndim:
        gradient, projected = gradient[None], projected[None]
    last = gradient.movedim(1, -1)
    # Channels-last, or one position for each sample.
    if sketched.groups == 1 and last.is_contiguous():
        return _over_rows(last, projected.movedim(1, -1))
    return _over_samples(gradient, projected, sketched.groups)


def _over_rows(
    gradient: Float[Tensor, "*rows out"], projected: Float[Tensor, "*rows s"]
) -> Float[Tensor, "out s"]:
    left = gradient.reshape(-1, gradient.shape[-1])
    right = projected.reshape(-1, projected.shape[-1])
    return left.T @ right


def _over_samples(
    gradient: Float[Tensor, "n out *positions"],
    projected: Float[Tensor, "n rows *positions"],
    groups: int,
) -> Float[Tensor, "out s"]:
    left = gradient.flatten(2).unflatten(1, (groups, -1))
    right = projected.flatten(2).unflatten(1, (groups, -1))
    sums = left @ right.mT
    return sums.sum(0, dtype=accumulation_dtype(left)).flatten(0, 1)
