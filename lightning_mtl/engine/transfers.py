"""Numbers on their way between host and device, for which neither side waits."""

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_mtl.linalg.host import on_host


class Arrival:
    """A copy of a tensor that is on its way to the host, or has always been there.

    Args:
        tensor: on any device.
    """

    def __init__(self, tensor: Tensor) -> None:
        tensor = tensor.detach()
        if on_host(tensor):
            self._host, self._copied = tensor, None
            return
        # Blocking neither side: a pinned buffer to copy into, an event to ask whether it is full.
        self._host = pinned(tensor)
        self._host.copy_(tensor, non_blocking=True)
        self._copied = recorded(tensor.device)

    @property
    def is_here(self) -> bool:
        """Whether the host has the numbers by now; asking does not wait."""
        return self._copied is None or self._copied.query()

    def wait(self) -> Tensor:
        """The numbers on the host, as soon as they are there."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._host


class LateChecks:
    """Looks at numbers as soon as the host has them, and raises if they are bad.

    What is on the host is looked at at once. What is on a device is copied behind the step, and
    looked at in a later step, at the latest before a checkpoint is written.
    """

    def __init__(self) -> None:
        self._pending: list[tuple[Arrival, Callable[[Tensor], None]]] = []

    def add(self, numbers: Tensor, check: Callable[[Tensor], None]) -> None:
        """Call `check` with these numbers on the host, now or when they have arrived."""
        self.run(wait=False)
        arrival = Arrival(numbers)
        if on_host(numbers):
            check(arrival.wait())
        else:
            self._pending.append((arrival, check))

    def run(self, wait: bool = True) -> None:
        """Look at all numbers that have arrived; with `wait`, at all there are."""
        while self._pending and (wait or self._pending[0][0].is_here):
            arrival, check = self._pending.pop(0)
            check(arrival.wait())


def to_host(*parts: Tensor) -> list[Tensor]:
    """Copies of one device's tensors on the host, in float64: one transfer, which is waited for."""
    if on_host(parts[0]):
        return [part.to(torch.float64, copy=True) for part in parts]
    flat = torch.cat([part.flatten().to(parts[0].dtype) for part in parts]).cpu().double()
    pieces = flat.split([part.numel() for part in parts])
    return [piece.view(part.shape) for piece, part in zip(pieces, parts, strict=True)]


def pinned(tensor: Tensor) -> Tensor:
    """A buffer on the host that a device can copy a tensor into by itself."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)


def recorded(device: torch.device) -> torch.Event:
    """An event behind all that the device has been given to do so far."""
    event = torch.Event(device)
    event.record()
    return event


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Numbers of the host on a device, by one copy that is not waited for."""
    if tensor.device == device:
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)
