"""Integers that get to the device without a copy."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

BITS = 63
"""Of an integer of a tensor, without its sign."""


def integers(numbers: Sequence[int], device: torch.device) -> Int[Tensor, " n"]:
    """A tensor of these integers, packed into the arguments of a few kernels and unpacked there.

    Args:
        numbers: at least one; not negative, and small.
        device: where to make them.
    """
    bits = max(1, max(numbers).bit_length())
    room = BITS // bits
    words = [_pack(numbers[start : start + room], bits) for start in range(0, len(numbers), room)]
    packed = torch.stack([torch.full((), word, device=device) for word in words])
    shifts = torch.arange(0, room * bits, bits, device=device)
    unpacked = (packed.unsqueeze(1) >> shifts).bitwise_and_((1 << bits) - 1)
    return unpacked.flatten()[: len(numbers)]


def _pack(numbers: Sequence[int], bits: int) -> int:
    return sum(number << bits * place for place, number in enumerate(numbers))
