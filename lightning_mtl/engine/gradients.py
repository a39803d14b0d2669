"""Gradients of several tasks: their inner products, sums, and the way into `.grad`."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.distributed import BUCKET, buckets
from lightning_mtl.engine.hooks import held_back
from lightning_mtl.linalg.host import on_host

CACHE = 2**17
"""Numbers of all rows that are read at once on the host, so that they stay in its cache."""

Gradients = list[Tensor]
"""One tensor for each parameter: a row of the Jacobian that is never joined into one vector."""


def gramian(
    rows: Sequence[Sequence[Tensor]], divisors: Sequence[Tensor] | None = None
) -> Float[Tensor, "K K"]:
    """J Jᵀ, or J D⁻¹ Jᵀ with a diagonal D, summed in float64, without a joined copy of J.

    It is summed bucket by bucket. Rules tell small angles between gradients from rounding: with
    sums in float32, some oppose a task when there are more tasks than dimensions. Complex numbers
    count as pairs of real ones. On a device without float64 the sums are in float32.

    Args:
        rows: one for each task, on one device.
        divisors: D, in the shapes of a row; by default 1.
    """
    like = rows[0][0]
    dtype = wide_dtype(like.device)
    size = max(1, (CACHE if on_host(like) else BUCKET) // len(rows))
    total = torch.zeros(len(rows), len(rows), dtype=dtype, device=like.device)
    for joined in _joined(rows if divisors is None else [*rows, divisors], size):
        matrix = joined[: len(rows)].to(dtype)
        other = matrix if divisors is None else matrix / joined[-1].to(dtype)
        total.addmm_(matrix, other.T)
    lower = total.tril()
    return lower + lower.tril(-1).T


def norms(rows: Sequence[Gradients]) -> Float[Tensor, " K"]:
    """The norm of each task gradient, ||g_k||."""
    parts = [[real(part) for part in row] for row in rows]
    dtype = accumulation_dtype(parts[0][0])
    lengths = [torch.stack(torch._foreach_norm(row, dtype=dtype)) for row in parts]
    return torch.linalg.vector_norm(torch.stack(lengths), dim=1)


def combine(rows: Sequence[Gradients], weights: Sequence[float] | Float[Tensor, " K"]) -> Gradients:
    """The sum of the rows, weighted: w @ J.

    Args:
        rows: one for each task.
        weights: numbers, or a tensor on the device of the rows, which is not waited for.
    """
    first, *others = rows
    if not first:
        return []
    # Not in place: autograd may hand out one tensor for two parameters, or an expanded one.
    total = scaled_by(first, weights[0])
    for row, weight in zip(others, weights[1:], strict=True):
        if isinstance(weight, Tensor):
            torch._foreach_add_(total, scaled_by(row, weight))
        else:
            torch._foreach_add_(total, row, alpha=weight)
    return total


def weighted_sum(
    weights: Float[Tensor, " K"], vectors: Sequence[Float[Tensor, " P"]]
) -> Float[Tensor, " P"]:
    """As `combine` of rows of one part, with weights that stay on the device."""
    first, *others = weights.to(vectors[0])
    total = vectors[0] * first
    for vector, weight in zip(vectors[1:], others, strict=True):
        total.addcmul_(vector, weight)
    return total


def add(total: Gradients | None, gradients: Gradients) -> Gradients:
    """Accumulate over micro-batches; not in place, for the same reason as in `combine`."""
    return list(torch._foreach_add(total, gradients)) if total else gradients


def scaled_by(gradients: Sequence[Tensor], scale: Tensor | float) -> Gradients:
    """Gradients times one number, which stays where it is."""
    if not isinstance(scale, Tensor):
        return list(torch._foreach_mul(list(gradients), scale))
    # One kernel for many gradients, where the number has their dtype; a number of bfloat16 would
    # not be the one that is logged.
    scale = scale.to(accumulation_dtype(real(gradients[0])))
    scaled = torch._foreach_mul(list(gradients), scale)
    # A gradient without axes may have taken on the dtype of the scale.
    return [new.to(old.dtype) for new, old in zip(scaled, gradients, strict=True)]


def merge(
    parts: Iterable[tuple[Sequence[Tensor], Sequence[Tensor]]],
) -> tuple[list[Tensor], list[Tensor]]:
    """Join lists of parameters and gradients; a parameter that occurs twice gets the sum.

    DDP counts how often a parameter's hook fires, so each may be written once a step.
    """
    merged: dict[Tensor, Tensor] = {}
    for parameters, gradients in parts:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            before = merged.get(parameter)
            merged[parameter] = gradient if before is None else before + gradient
    return list(merged), list(merged.values())


def write(parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    """Add to `.grad` through the leaves' own accumulation nodes.

    This is a backward pass of no depth: DDP reduces its buckets, and gradients accumulate over
    micro-batches, exactly as after `loss.backward()`. A hook that changes the gradient of a
    parameter has run already, when the gradient was taken.
    """
    if parameters:
        with held_back(parameters):
            torch.autograd.backward(list(parameters), list(gradients))


def real(tensor: Tensor) -> Tensor:
    """The tensor itself, or a view of complex numbers as pairs of real ones, on a last axis.

    The inner product of such pairs is the real part of the Hermitian one, with which a complex
    parameter moves like the two real ones that it stands for.
    """
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def views_of(vector: Float[Tensor, " P"], parameters: Sequence[Tensor]) -> list[Tensor]:
    """The parts of a vector that belong to each parameter, in the shapes that `real` gives them."""
    likes = [real(parameter.detach()) for parameter in parameters]
    pieces = vector.split([like.numel() for like in likes])
    return [piece.view_as(like) for piece, like in zip(pieces, likes, strict=True)]


def as_gradient_of(parameter: Tensor, pairs: Tensor) -> Tensor:
    """What `real` returned of a gradient, in the dtype of its parameter; a copy where complex."""
    if parameter.is_complex() and not pairs.is_complex():
        return torch.view_as_complex(pairs.contiguous().clone()).to(parameter)
    return pairs.to(parameter)


def _joined(rows: Sequence[Sequence[Tensor]], size: int) -> Iterator[Float[Tensor, "K n"]]:
    """Rows as matrices of at most `size` columns, into which small parts are joined."""
    every = [buckets([real(part) for part in row], size) for row in rows]
    for runs in zip(*every, strict=True):
        flats = [[part.flatten() for part in run] for run in runs]
        if len(flats[0]) > 1:
            yield torch.cat([flat for run in flats for flat in run]).view(len(rows), -1)
        else:
            # A part larger than a bucket comes alone, and is copied piece by piece.
            yield from map(torch.stack, zip(*(run[0].split(size) for run in flats), strict=True))


def wide_dtype(device: torch.device) -> torch.dtype:
    """float64, or float32 on a device that has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def accumulation_dtype(tensor: Tensor) -> torch.dtype:
    """The dtype that sums are taken in: the tensor's own, or float32 if that is wider."""
    return torch.promote_types(tensor.dtype, torch.float32)


def zeros_for_none(gradients: Sequence[Tensor | None], likes: Sequence[Tensor]) -> Gradients:
    """Gradients with zeros where there is none, in the shapes of `likes`."""
    return [
        torch.zeros_like(like) if gradient is None else gradient
        for gradient, like in zip(gradients, likes, strict=True)
    ]
