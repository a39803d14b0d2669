"""What the objects of TorchJD remember from call to call: saved, restored, moved and forgotten.

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
"""Methods that make what cannot be saved: a problem of cvxpy has no state of its own."""


def remember(module: nn.Module) -> Memory:
    """Copies of the state of a module and of its parts, by their names."""
    return {
        name: _remembered(part)
        for name, part in module.named_modules()
        if name == "" or _state(part)
    }


def recall(module: nn.Module, memory: Memory) -> None:
    """Restore what `remember` has copied from a module that was built alike.

    Raises:
        ValueError: if it was another class, or has state that can neither be saved nor made anew.
    """
    _check_classes(module, memory)
    for name, saved in memory.items():
        part = module.get_submodule(name)
        arrays = {key: value.clone().numpy() for key, value in saved["arrays"].items()}
        for key, value in (saved["values"] | arrays).items():
            store = part._buffers if key in part._buffers else vars(part)
            store[key] = _own(value)
        _rebuild(part, saved)


def move(module: nn.Module, device: torch.device) -> None:
    """As `Module.to`, with the tensors that are plain attributes, and the devices that they note.

    Some classes start anew when their noted device is not that of their input.
    """
    module.to(device)
    for part in module.modules():
        for key, value in list(vars(part).items()):
            if isinstance(value, Tensor):
                vars(part)[key] = value.to(device)
            elif type(value) is tuple:
                noted = (device if isinstance(x, torch.device) else x for x in value)
                vars(part)[key] = tuple(noted)


def forget(module: nn.Module) -> None:
    """Reset everything that has a state."""
    from torchjd import Stateful

    for part in module.modules():
        if isinstance(part, Stateful):
            part.reset()


def _remembered(part: nn.Module) -> dict[str, Any]:
    state = _state(part)
    arrays = {key: value for key, value in state.items() if isinstance(value, np.ndarray)}
    plain = {key: value for key, value in state.items() if isinstance(value, PLAIN)}
    return {
        "class": type(part).__name__,
        "values": {key: _own(value) for key, value in plain.items()},
        "arrays": {key: torch.from_numpy(value.copy()) for key, value in arrays.items()},
        "unsaved": {
            key: type(value).__name__
            for key, value in state.items()
            if key not in plain and key not in arrays
        },
    }


def _state(part: nn.Module) -> dict[str, Any]:
    """Buffers, and attributes that are not named after an argument of the constructor."""
    constructors = (vars(kind).get("__init__") for kind in type(part).__mro__)
    arguments = {
        argument.strip("_")
        for constructor in constructors
        if constructor is not None
        for argument in inspect.signature(constructor).parameters
    }
    general = vars(nn.Module())
    own = {
        key: value
        for key, value in vars(part).items()
        if key not in general and key.strip("_") not in arguments
    }
    return own | part._buffers


def _own(value: Any) -> Any:
    """A copy: TorchJD adds to some of its tensors in place."""
    return value.clone() if isinstance(value, Tensor) else value


def _check_classes(module: nn.Module, memory: Memory) -> None:
    parts = dict(module.named_modules())
    for name in sorted(memory.keys() | {name for name, part in parts.items() if _state(part)}):
        expected = f"`{memory[name]['class']}`" if name in memory else "nothing"
        found = f"`{type(parts[name]).__name__}`" if name in parts else "nothing"
        if found != expected:
            place = f" as its `{name}`" if name else ""
            raise ValueError(
                f"The checkpoint's `TorchJDWeighting` has {expected}{place}. Found {found}. Build"
                " it with the class that it was saved with, or start without the checkpoint."
            )


def _rebuild(part: nn.Module, saved: dict[str, Any]) -> None:
    """Make what could not be saved; what the constructor makes anew is taken as it is."""
    if not saved["unsaved"]:
        return
    rebuild = getattr(part, REBUILT_BY.get(saved["class"], ""), None)
    if rebuild is not None:
        rebuild()
    for key, kind in saved["unsaved"].items():
        if type(vars(part).get(key)).__name__ != kind:
            raise ValueError(
                f"`{saved['class']}.{key}` of TorchJD, a `{kind}`, cannot be saved, so that its"
                " training cannot be resumed. Start without the checkpoint, or keep its state in"
                " tensors, numbers and arrays."
            )
