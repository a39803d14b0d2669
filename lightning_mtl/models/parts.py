"""The parts of a network that may be compiled, each on its own."""

from collections.abc import Collection, Iterator

from torch import nn

from lightning_mtl.models.network import MultiTaskNetwork

__all__ = ["separate_parts"]


def separate_parts(network: nn.Module, tasks: Collection[str]) -> list[nn.Module]:
    """The largest modules in a network of which no task uses only a piece.

    These are its children, such as an encoder, and the entries of `ModuleDict` and `ModuleList`,
    such as decoders. A module that holds others by the names of tasks has an output for each task,
    so the parts are looked for in it. A network keeps others out by `MultiTaskNetwork.may_compile`.
    Single layers are no parts: there is nothing for a compiler to join.

    Args:
        network: whose parts they are; it is not one of them itself.
        tasks: the names of the tasks.
    """
    excluded = _excluded(network)
    return [part for part in _candidates(network, tasks) if part not in excluded]


def _candidates(module: nn.Module, tasks: Collection[str]) -> Iterator[nn.Module]:
    for child in module.children():
        if _is_one(child, tasks):
            yield child
        else:
            yield from _candidates(child, tasks)


def _is_one(module: nn.Module, tasks: Collection[str]) -> bool:
    """Whether a module that is no container has several layers, and none of them by task."""
    names = {name for part in module.modules() for name, _ in part.named_children()}
    container = type(module).forward in (nn.Module.forward, nn.ModuleDict.forward)
    network = isinstance(module, MultiTaskNetwork)
    return bool(names) and names.isdisjoint(tasks) and not container and not network


def _excluded(network: nn.Module) -> set[nn.Module]:
    """What the network, or one within it, does not let be compiled."""
    return {
        module
        for owner in network.modules()
        if isinstance(owner, MultiTaskNetwork)
        for name, module in owner.named_modules()
        if not owner.may_compile(name)
    }
