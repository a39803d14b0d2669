"""Integers of the host, beside the numbers that they index."""

from jaxtyping import Int
from torch import Tensor

from lightning_mtl.linalg import on_device
from lightning_mtl.linalg.host import on_host


def integers_beside(numbers: Int[Tensor, "..."], other: Tensor) -> Int[Tensor, "..."]:
    """These integers where `other` is; a copy to a device would make the host wait.

    Args:
        numbers: on the host; not negative, and small.
        other: a tensor.
    """
    if on_host(other):
        return numbers
    return on_device.integers(numbers.flatten().tolist(), other.device).view(numbers.shape)
