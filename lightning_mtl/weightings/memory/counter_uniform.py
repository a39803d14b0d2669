"""Uniform random numbers that are a function of a seed and a place: the same on every device."""

import torch
from jaxtyping import Float
from torch import Tensor

BITS = 23
"""Of every number: k + 1/2 of them is exact in float32, and less than 1 after the scaling."""


def uniform(seed: int, start: int, count: int, device: torch.device) -> Float[Tensor, " count"]:
    """Numbers U in (0, 1), independent for different seeds and different places.

    U_i is the hash of the i-th place after the seed's own, by SplitMix64. Integers are multiplied
    and shifted alike everywhere, where each kind of device has a random generator of its own.

    Steele, Lea & Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.

    Args:
        seed: any integer.
        start: the first place.
        count: of places.
        device: where the numbers are computed.

    Example:
        >>> uniform(seed=0, start=2, count=2, device=torch.device("cpu"))
        tensor([0.4315, 0.0264])
        >>> uniform(seed=0, start=0, count=4, device=torch.device("cpu"))[2:]
        tensor([0.4315, 0.0264])
    """
    origin = int(_mix(torch.tensor(_signed(seed))))
    places = torch.arange(start, start + count, device=device)
    hashed = _mix(places.mul_(GAMMA).add_(origin))
    return _shift(hashed, 64 - BITS).float().add_(0.5).mul_(2.0**-BITS)


def _signed(number: int) -> int:
    """The 64-bit integer of the same bits, as tensors have it."""
    return (number + 2**63) % 2**64 - 2**63


GAMMA, FIRST, SECOND = map(_signed, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _mix(state: Tensor) -> Tensor:
    """The finaliser of SplitMix64, in place; products wrap around."""
    state.bitwise_xor_(_shift(state, 30)).mul_(FIRST)
    state.bitwise_xor_(_shift(state, 27)).mul_(SECOND)
    return state.bitwise_xor_(_shift(state, 31))


def _shift(state: Tensor, bits: int) -> Tensor:
    """Shift right and fill with zeros: a tensor's own shift repeats the sign."""
    return (state >> bits).bitwise_and_((1 << (64 - bits)) - 1)
