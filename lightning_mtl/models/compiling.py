"""Compiling a network part by part, so that the tasks stay apart in the autograd graph."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from inspect import signature
from typing import Any

import torch
import torch._functorch.config as functorch_config
from torch import nn

from lightning_mtl.models.parts import separate_parts

__all__ = ["compile_parts", "differentiable_again"]

CACHE = "differentiable again"


def compile_parts(
    owner: str, network: nn.Module, tasks: Collection[str], options: Mapping[str, Any]
) -> None:
    """Compile the parts of a network in place, each when it is first called.

    Their class, their parameters and the keys of their state stay as they are. Parts that are
    compiled already are left alone. A part of which the network calls only pieces, as networks do
    that exchange features between the stages of an encoder, runs as before.

    Args:
        owner: the class that is asked to do it, for messages.
        network: whose parts are compiled.
        tasks: the names of the tasks.
        options: arguments of `torch.compile`.

    Raises:
        ValueError: if the network has no parts.
    """
    parts = separate_parts(network, tasks)
    if not parts:
        raise ValueError(
            f"`{owner}(compile=)` should be False for a network without parts that can be compiled"
            f" on their own. Found `{type(network).__name__}`, which has no module but single"
            " layers, those that hold the modules of several tasks, and those that it keeps out by"
            " `may_compile`. Leave `compile` out, or make the encoder and each decoder a module."
        )
    for part in parts:
        if part._compiled_call_impl is None:
            part.compile(**(_apart() | dict(options)))


@contextmanager
def differentiable_again() -> Iterator[None]:
    """Let what is compiled meanwhile be differentiated as often as there are tasks.

    Otherwise the first backward pass may overwrite what the forward pass has saved. To be entered
    for the forward and for the backward pass, as each is compiled when it first runs.
    """
    with functorch_config.patch(donated_buffer=False), _caches_apart():
        yield


def _caches_apart() -> Any:
    """Keep away from compiled code of plain runs, which overwrites what was saved all the same."""
    config: Any = getattr(torch.compiler, "config", None)
    if hasattr(config, "cache_key_tag"):
        return config.patch(cache_key_tag=f"{config.cache_key_tag.removesuffix(CACHE)}{CACHE}")
    # Torch 2.6 has no key of one's own.
    import torch._inductor.config as inductor_config

    return inductor_config.patch(force_disable_caches=True)


def _apart() -> dict[str, Any]:
    """Torch compiles one function eight times at most, and counts all heads of a class as one."""
    name = "isolate_recompiles"
    return {name: True} if name in signature(torch.compile).parameters else {}
