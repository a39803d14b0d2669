"""What comes to the host, noticed on machines where the host is all there is."""

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

CALLS = ("cpu", "numpy", "tolist", "item", "__bool__", "__float__", "__int__", "nonzero", "to")


class Reads(TorchFunctionMode):
    """Notes what comes to the host, by which call and how many numbers.

    A copy to where a tensor is already dispatches nothing, so calls are looked at, not operations.
    `to` counts where it names the host; with the device of another tensor it goes to that one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, int]] = []

    def __torch_function__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        if name in CALLS and (name != "to" or _names_the_host(*args[1:], *kwargs.values())):
            self.found.append((name, args[0].numel()))
        return function(*args, **kwargs)


def _names_the_host(*where: object) -> bool:
    """Whether one of the arguments of `Tensor.to` is the device of the host, by its name."""
    return any(place.startswith("cpu") for place in where if isinstance(place, str))


def copies(found: list[tuple[str, int]]) -> list[int]:
    """How many numbers each copy to the host has taken."""
    return [count for call, count in found if call in ("cpu", "numpy", "to")]


def read_by(*tensors: Tensor) -> list[tuple[str, int]]:
    """What is noticed of one read of every kind, for a test of the notes themselves."""
    with Reads() as reads:
        for tensor in tensors:
            float(tensor.sum()), tensor.cpu(), tensor.tolist(), bool(tensor.sum())
            tensor.to("cpu"), tensor.to(device="cpu:0"), tensor.sum().item()
            tensor.to(torch.float64), tensor.to(tensor), tensor.to(tensor.device), tensor.numpy()
    return reads.found
