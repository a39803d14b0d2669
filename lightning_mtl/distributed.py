"""Sums over ranks, in one place: every statistic of a weighting passes through here."""

import os
from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Value = TypeVar("Value")

BUCKET = 2**22
"""Elements that are joined into one call: enough to hide its latency, few against a model."""


def world_size() -> int:
    """The number of ranks that train together; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this rank among those that train together; 0 without a process group."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of `tensor` over all ranks; the tensor itself on one rank."""
    if world_size() == 1:
        return tensor
    total = tensor.contiguous().clone()
    dist.all_reduce(total)
    return total


def sum_in_place_over_ranks(tensor: Tensor) -> Tensor:
    """As `sum_over_ranks`, into the tensor itself, which is contiguous and may be large."""
    if world_size() > 1:
        for piece in tensor.view(-1).split(BUCKET):
            dist.all_reduce(piece)
    return tensor


def max_over_ranks(tensor: Tensor) -> Tensor:
    """The elementwise maximum of `tensor` over all ranks."""
    if world_size() == 1:
        return tensor
    largest = tensor.contiguous().clone()
    dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    return largest


def union_over_ranks(names: Sequence[str]) -> list[str]:
    """All names that any rank knows, in the order of the ranks; exchanged once, as objects."""
    if world_size() == 1:
        return list(names)
    gathered: list[list[str]] = [[] for _ in range(world_size())]
    dist.all_gather_object(gathered, list(names))
    return list(dict.fromkeys(name for rank in gathered for name in rank))


def from_first_rank(value: Value) -> Value:
    """The numbers, or the number, that the first rank has; exchanged as an object."""
    if world_size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def sum_gradients_over_ranks(gradients: Sequence[Tensor]) -> list[Tensor]:
    """Sum a list of gradients over all ranks, a bucket at a time."""
    if world_size() == 1:
        return list(gradients)
    summed: list[Tensor] = []
    for bucket in buckets(gradients):
        flat = torch.cat([gradient.flatten() for gradient in bucket])
        dist.all_reduce(flat)
        pieces = flat.split([gradient.numel() for gradient in bucket])
        summed += [piece.view_as(gradient) for piece, gradient in zip(pieces, bucket, strict=True)]
    return summed


def buckets(tensors: Sequence[Tensor], size: int = BUCKET) -> Iterator[list[Tensor]]:
    """Consecutive runs of `tensors` of one dtype, of at most `size` elements if they can be."""
    run: list[Tensor] = []
    count = 0
    for tensor in tensors:
        if run and (count + tensor.numel() > size or tensor.dtype != run[0].dtype):
            yield run
            run, count = [], 0
        run.append(tensor)
        count += tensor.numel()
    if run:
        yield run


def usable_cores() -> int:
    """The cores that this process may use, which in a container are fewer than the machine has."""
    usable = getattr(os, "sched_getaffinity", None)
    return (os.cpu_count() or 1) if usable is None else len(usable(0))
