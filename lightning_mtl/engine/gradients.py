"""Gradients of several tasks: their inner products, sums, and the way into `.grad`."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.distributed import BUCKET, buckets

CACHE = 2**17
"""Numbers of a row that are read at once on the host, so that K rows stay in its cache."""

Gradients = list[Tensor]
"""One tensor for each parameter: a row of the Jacobian that is never joined into one vector."""


def gramian(rows: Sequence[Sequence[Tensor]]) -> Float[Tensor, "K K"]:
    """J Jᵀ, summed bucket by bucket: no joined copy of J, and no tensor-core rounding.

    Dot products keep float32 where a matrix product may silently run in TF32.
    """
    tasks = len(rows)
    entries = [
        [torch.dot(flat[i], flat[j]) for i in range(tasks) for j in range(i + 1)]
        for flat in zip(*(_pieces(row) for row in rows), strict=True)
    ]
    sums = torch.stack([torch.stack(part) for part in entries]).sum(0)
    full = sums.new_zeros(tasks, tasks)
    lower = torch.tril_indices(tasks, tasks, device=sums.device)
    full[lower[0], lower[1]] = sums
    full[lower[1], lower[0]] = sums
    return full


def norms(rows: Sequence[Gradients]) -> Float[Tensor, " K"]:
    """The norm of each task gradient, ||g_k||."""
    dtype = accumulation_dtype(rows[0][0])
    lengths = [torch.stack(torch._foreach_norm(row, dtype=dtype)) for row in rows]
    return torch.linalg.vector_norm(torch.stack(lengths), dim=1)


def combine(rows: Sequence[Gradients], weights: Sequence[float]) -> Gradients:
    """The sum of the rows, weighted: w @ J."""
    first, *others = rows
    if not first:
        return []
    # Not in place: autograd may hand out one tensor for two parameters, or an expanded one.
    total = list(torch._foreach_mul(first, weights[0]))
    for row, weight in zip(others, weights[1:], strict=True):
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

    This is a backward pass of no depth: hooks fire, so DDP reduces its buckets, and gradients
    accumulate over micro-batches, exactly as after `loss.backward()`.
    """
    if parameters:
        torch.autograd.backward(list(parameters), list(gradients))


def _pieces(row: Sequence[Tensor]) -> Iterator[Float[Tensor, " n"]]:
    """A row as vectors quick to multiply: few on a device, cache-sized ones on the host."""
    if row[0].device.type == "cpu":
        for part in row:
            flat = part.flatten()
            yield from flat.to(accumulation_dtype(flat)).split(CACHE)
        return
    for bucket in buckets(row):
        flats = [part.flatten() for part in bucket]
        # A part larger than a bucket comes alone: there is nothing to join, and no copy to make.
        joined = flats[0] if len(flats) == 1 else torch.cat(flats)
        yield from (piece.to(accumulation_dtype(piece)) for piece in joined.split(BUCKET))


def accumulation_dtype(tensor: Tensor) -> torch.dtype:
    """The dtype that sums are taken in: the tensor's own, or float32 if that is wider."""
    return torch.promote_types(tensor.dtype, torch.float32)


def zeros_for_none(gradients: Sequence[Tensor | None], likes: Sequence[Tensor]) -> Gradients:
    """Gradients with zeros where there is none, in the shapes of `likes`."""
    return [
        torch.zeros_like(like) if gradient is None else gradient
        for gradient, like in zip(gradients, likes, strict=True)
    ]
