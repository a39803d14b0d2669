"""A device that is not there: tensors that claim to be elsewhere, whose traffic is counted.

Every tensor of the device wraps one of the host, which does its work, so that training goes on with
true numbers. What a real device would be waited for is noted: numbers that are read, copies to the
host, copies to the device, and operations that look at their own results.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import lightning as L
import torch
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from lightning_mtl.engine import transfers

# The autograd engine of the host runs the backward passes of this kind.
DEVICE = torch.device("lazy", 0)

READS = {
    "aten::_local_scalar_dense",
    "aten::equal",
    "aten::is_nonzero",
    "aten::nonzero",
    "aten::masked_select",
    "aten::_unique2",
    "aten::repeat_interleave",
    "aten::_linalg_eigh",
    "aten::_linalg_svd",
    "aten::linalg_cholesky",
    "aten::_linalg_check_errors",
}
"""Operations that wait: they read a number, check one, or have a result of a size that it sets."""


class Remote(Tensor):
    """A tensor of the device."""

    host: Tensor

    @staticmethod
    def __new__(cls, host: Tensor) -> "Remote":
        made = Tensor._make_wrapper_subclass(
            cls,
            host.shape,
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            device=DEVICE,
        )
        made.host = host
        return made

    def __repr__(self) -> str:
        return f"Remote({self.host})"

    def tolist(self) -> Any:
        """As of an ordinary tensor, whose numbers are copied to the host first."""
        return self.cpu().tolist()

    def as_subclass(self, cls: Any) -> Any:
        """Itself: an ordinary tensor of the device has no other class."""
        return self

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        raise AssertionError("Tensors of the device are worked with inside `Traffic` only.")


class Traffic(TorchDispatchMode):
    """Does the work of the device on the host, and notes what it would be waited for.

    Attributes:
        watching: whether to take notes.
        waits: what would have waited, by operation and size.
        copies: the copies to the device or from it that nobody waits for, by direction.
    """

    def __init__(self) -> None:
        super().__init__()
        self.watching = False
        self.waits: list[str] = []
        self.copies: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        kwargs = dict(kwargs or {})
        name = function._schema.name
        leaves = tree_leaves((args, kwargs))
        remote = [leaf for leaf in leaves if isinstance(leaf, Remote)]
        target = kwargs.get("device")
        if name in ("aten::_to_copy", "aten::copy_"):
            return self._copy(function, args, kwargs)
        if remote and (name in READS or _picks_by_mask(name, args)):
            self._wait(name, remote[0])
        made_there = target is not None and torch.device(target) == DEVICE
        if remote:
            _refuse_mixture(name, leaves)
        if made_there:
            kwargs["device"] = torch.device("cpu")
        args, kwargs = tree_map_only(Remote, lambda t: t.host, (args, kwargs))
        result = function(*args, **kwargs)
        return _returned(function, remote, result) if remote or made_there else result

    def _copy(self, function: Any, args: Any, kwargs: Any) -> Any:
        into = function._schema.name == "aten::copy_"
        source = args[1] if into else args[0]
        if into:
            there = isinstance(args[0], Remote)
        else:
            device = kwargs.get("device")
            there = isinstance(source, Remote) if device is None else torch.device(device) == DEVICE
            kwargs["device"] = torch.device("cpu")
        waits = not (kwargs.get("non_blocking") or (into and len(args) > 2 and args[2]))
        if isinstance(source, Remote) != there:
            direction = "to the device" if there else "to the host"
            if waits:
                self._wait(f"copy {direction}", source)
            elif self.watching:
                self.copies.append(f"{direction} {source.numel()}")
        plain = tree_map_only(Remote, lambda t: t.host, args)
        result = function(*plain, **kwargs)
        if into:
            return args[0]
        return Remote(result) if there else result

    def _wait(self, what: str, tensor: Tensor) -> None:
        if self.watching:
            self.waits.append(f"{what} {tensor.numel()}")


class Watch(L.Callback):
    """Lets the traffic of whole steps be noted, from the first batch that is told on.

    Args:
        traffic: that takes the notes.
        first: how many steps to let pass: the first ones find out what is shared.
    """

    def __init__(self, traffic: Traffic, first: int) -> None:
        self.traffic = traffic
        self.first = first

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int):
        self.traffic.watching = batch_idx >= self.first

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, index: int
    ):
        self.traffic.watching = False


class RemoteAccelerator(CPUAccelerator):
    """That of the host, which has nothing to set up for the device."""

    def setup_device(self, device: torch.device) -> None:
        """No-op: any device will do."""


class RemoteStrategy(SingleDeviceStrategy):
    """Trains on the device that is not there."""

    def __init__(self) -> None:
        super().__init__(device=DEVICE, accelerator=RemoteAccelerator())


@contextmanager
def remote_device() -> Iterator[Traffic]:
    """A context in which the device exists, without pinned memory and events of its own."""
    generators = SimpleNamespace(
        is_available=lambda: False,
        get_rng_state=lambda device: torch.get_rng_state(),
        set_rng_state=lambda state, device: torch.set_rng_state(state),
    )
    generator = torch.Generator
    traffic = Traffic()
    lifts = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)
    try:
        with (
            patch.object(transfers, "pinned", _on_host),
            patch.object(transfers, "recorded", lambda device: Done()),
            patch.object(Tensor, "pin_memory", lambda tensor: tensor),
            patch.object(torch, "get_device_module", lambda device: generators),
            patch.object(torch, "Generator", lambda device="cpu": generator("cpu")),
            traffic,
        ):
            yield traffic
    finally:
        torch._C._set_only_lift_cpu_tensors(lifts)


class Done:
    """An event that has happened."""

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        """No-op: there is nothing to wait for."""


def _on_host(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype)


def _picks_by_mask(name: str, args: Any) -> bool:
    """Whether an index is a mask, whose result has a size that depends on it."""
    if name not in ("aten::index", "aten::index_put", "aten::index_put_"):
        return False
    indices = [index for index in args[1] if isinstance(index, Tensor)]
    return any(index.dtype == torch.bool for index in indices)


def _refuse_mixture(name: str, leaves: list[Any]) -> None:
    """As a real device does: numbers of the host take part, but no other tensors."""
    others = [leaf for leaf in leaves if isinstance(leaf, Tensor) and not isinstance(leaf, Remote)]
    if any(other.ndim for other in others):
        raise RuntimeError(f"`{name}` should have tensors of one device. Found some of the host.")


def _returned(function: Any, remote: list[Remote], result: Any) -> Any:
    """The result as tensors of the device; what was changed in place is itself."""
    changed = [a for a in function._schema.arguments if a.alias_info and a.alias_info.is_write]
    if changed and isinstance(result, Tensor):
        # A change of shape in place, within operations of torch, needs a new cover.
        same = [t for t in remote if t.host is result and t.shape == result.shape]
        if same:
            return same[0]
    return tree_map_only(Tensor, Remote, result)
