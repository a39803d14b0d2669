"""Saves, restores, moves and resets what the objects of TorchJD remember from call to call.

Their own `state_dict` misses counters and NumPy arrays, and cannot be loaded where a buffer is born
as `None`.
"""

import inspect
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Memory = dict[str, dict[str, Any]]

PLAIN = (Tensor, bool, int, float, str, tuple, type(None))

REBUILT_BY = {"_NashMTLWeighting": "_init_optim_problem"}
"""Methods that rebuild what cannot be saved: a problem of cvxpy has no state of its own."""


def remember(module: nn.Module) -> Memory:
    """Copies of the state of a module and of its submodules, by their names."""
    return {
        name: _remembered(submodule)
        for name, submodule in module.named_modules()
        if name == "" or _state(submodule)
    }


def recall(module: nn.Module, memory: Memory) -> None:
    """Restore what `remember` has copied, into a module that is built the same way.

    Raises:
        ValueError: if it was another class, or has state that can neither be saved nor made anew.
    """
    _check_classes(module, memory)
    for name, saved in memory.items():
        submodule = module.get_submodule(name)
        arrays = {key: value.clone().numpy() for key, value in saved["arrays"].items()}
        for key, value in (saved["values"] | arrays).items():
            store = submodule._buffers if key in submodule._buffers else vars(submodule)
            store[key] = _copy(value)
        _rebuild(submodule, saved)


def move(module: nn.Module, device: torch.device) -> None:
    """Move a module to a device, with tensors that are plain attributes, and noted devices.

    Some classes start anew when their noted device is not that of their input.
    """
    module.to(device)
    for submodule in module.modules():
        for key, value in list(vars(submodule).items()):
            if isinstance(value, Tensor):
                vars(submodule)[key] = value.to(device)
            elif type(value) is tuple:
                noted = (device if isinstance(x, torch.device) else x for x in value)
                vars(submodule)[key] = tuple(noted)


def forget(module: nn.Module) -> None:
    """Reset the state of a module and of its submodules."""
    from torchjd import Stateful

    for submodule in module.modules():
        if isinstance(submodule, Stateful):
            submodule.reset()


def _remembered(submodule: nn.Module) -> dict[str, Any]:
    state = _state(submodule)
    arrays = {key: value for key, value in state.items() if isinstance(value, np.ndarray)}
    plain = {key: value for key, value in state.items() if isinstance(value, PLAIN)}
    return {
        "class": type(submodule).__name__,
        "values": {key: _copy(value) for key, value in plain.items()},
        "arrays": {key: torch.from_numpy(value.copy()) for key, value in arrays.items()},
        "unsaved": {
            key: type(value).__name__
            for key, value in state.items()
            if key not in plain and key not in arrays
        },
    }


def _state(submodule: nn.Module) -> dict[str, Any]:
    """The buffers of a module, and attributes that are not arguments of its constructor."""
    constructors = (vars(kind).get("__init__") for kind in type(submodule).__mro__)
    arguments = {
        argument.strip("_")
        for constructor in constructors
        if constructor is not None
        for argument in inspect.signature(constructor).parameters
    }
    general = vars(nn.Module())
    attributes = {
        key: value
        for key, value in vars(submodule).items()
        if key not in general and key.strip("_") not in arguments
    }
    return attributes | submodule._buffers


def _copy(value: Any) -> Any:
    """A copy of a tensor, as TorchJD changes some in place; other values as they are."""
    return value.clone() if isinstance(value, Tensor) else value


def _check_classes(module: nn.Module, memory: Memory) -> None:
    submodules = dict(module.named_modules())
    for name in sorted(
        memory.keys() | {name for name, submodule in submodules.items() if _state(submodule)}
    ):
        expected = f"`{memory[name]['class']}`" if name in memory else "nothing"
        actual = f"`{type(submodules[name]).__name__}`" if name in submodules else "nothing"
        if actual != expected:
            place = f" as its `{name}`" if name else ""
            raise ValueError(
                f"`TorchJDWeighting` should have {expected}{place}, as in the checkpoint. Found"
                f" {actual}. Build it with the class that it was saved with, or start without the"
                " checkpoint."
            )


def _rebuild(submodule: nn.Module, saved: dict[str, Any]) -> None:
    """Rebuild what could not be saved, unless the constructor has built it already."""
    if not saved["unsaved"]:
        return
    rebuild = getattr(submodule, REBUILT_BY.get(saved["class"], ""), None)
    if rebuild is not None:
        rebuild()
    for key, kind in saved["unsaved"].items():
        if type(vars(submodule).get(key)).__name__ != kind:
            raise ValueError(
                f"`{saved['class']}.{key}` of TorchJD should be a tensor, a number or an array, to"
                f" resume from a checkpoint. Found a `{kind}`, which was not saved. Start without"
                " the checkpoint, or keep this state in tensors, numbers and arrays."
            )
