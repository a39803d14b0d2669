"""What operations on entries say beside the shape of a graph: which indices, along which axis."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import Node

from lightning_mtl.engine.entries.nodes import operation_of
from lightning_mtl.engine.entries.selecting import SELECTING

GONE = torch.empty(0)
"""Stands for a tensor that a backward pass has let go of."""


class Said(NamedTuple):
    """What one node says of entries.

    Attributes:
        shapes: of its outputs.
        kept: what it keeps beside tensors, by name: an axis, say, or an index.
    """

    shapes: tuple[tuple[int, ...], ...]
    kept: dict[str, object]


class Choices:
    """What the nodes of one graph say of entries, to be compared with another graph of its shape.

    Args:
        said: of each node.
    """

    def __init__(self, said: Sequence[Said]) -> None:
        self._said = said

    @classmethod
    def of(cls, nodes: Sequence[Node]) -> "Choices | None":
        """The choices of these nodes.

        `None` where entries are chosen by tensors, which may be others in every step.
        """
        said = []
        for node in nodes:
            kept = {name: _read(node, name) for name in _names(type(node))}
            plain = {name: value for name, value in kept.items() if not _has_tensor(value)}
            if len(plain) < len(kept) and operation_of(node) in SELECTING:
                return None
            said.append(Said(_shapes(node), plain))
        return cls(said)

    def hold_for(self, nodes: Sequence[Node]) -> bool:
        """Whether these nodes, of the same operations, say the same."""
        return all(_says(node, said) for node, said in zip(nodes, self._said, strict=True))


def _says(node: Node, said: Said) -> bool:
    if _shapes(node) != said.shapes:
        return False
    for name, before in said.kept.items():
        now = _read(node, name)
        if _has_tensor(now) or now != before:
            return False
    return True


def _shapes(node: Node) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(meta.shape) for meta in getattr(node, "_input_metadata", ()))


@cache
def _names(kind: type) -> tuple[str, ...]:
    """Under which names a node of this kind keeps what its backward pass needs."""
    return tuple(name for name in dir(kind) if name.startswith("_saved_"))


def _read(node: Node, name: str) -> object:
    """What a node keeps under a name; a tensor may have been let go of by a backward pass."""
    try:
        return getattr(node, name)
    except RuntimeError:
        return GONE


def _has_tensor(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return any(isinstance(each, Tensor) for each in value)
    return isinstance(value, Tensor)
