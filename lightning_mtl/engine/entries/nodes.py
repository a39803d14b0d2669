"""What a node of the autograd graph tells of its operation, and how rules speak of entries."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch.autograd.graph import Node

Entries = dict[int, range | None]
"""The indices that matter along some dimensions of a tensor; along the others all of them do.

`None` stands for some indices of which the graph does not say which.
"""

Edge = tuple[Node, int]
"""One output of an operation: the node, and the number of the output."""

Below = Iterable[tuple[Edge, Entries]] | None
"""The entries of an operation's inputs that matter; `None` if there is no telling."""

Rule = Callable[[Any, int, Entries], Below]
"""What matters below a node, given one of its outputs and the entries of it that matter.

The node is of type `Any` since its saved attributes are not typed.
"""


OWN = {"_TapBackward": "Tap"}
"""Operations of this package that users do not write themselves."""


def operation_of(node: Node) -> str:
    """`Mul` for `MulBackward0`; empty for what is neither torch's nor this package's own."""
    name = node.name()
    if name in OWN:
        return OWN[name]
    plain = name.rstrip("0123456789")
    return plain[:-8] if plain != name and plain.endswith("Backward") else ""


def inputs_of(node: Node) -> list[Edge]:
    """The outputs of other operations that it was computed from, and that have a graph."""
    return [(child, output) for child, output in node.next_functions if child is not None]


def metadata_of(edge: Edge) -> Any:
    """The `shape`, `dtype` and `device` of an output of an operation."""
    return edge[0]._input_metadata[edge[1]]


def shape_of(edge: Edge) -> tuple[int, ...]:
    """The shape of an output of an operation."""
    return tuple(metadata_of(edge).shape)


def signed(number: int) -> int:
    """A saved number; autograd saves it unsigned, so that -1 arrives as 2**64 - 1."""
    return number if number < 2**63 else number - 2**64


def dims_of(saved: int | Sequence[int] | None, ndim: int) -> list[int]:
    """Saved dimensions, counted from the front; all of them if there are none."""
    dims = [saved] if isinstance(saved, int) else saved or range(ndim)
    return [signed(dim) % ndim for dim in dims] if ndim else []


def all_matter(node: Any, output: int, entries: Entries) -> Below:
    """Every entry of every input matters."""
    return [(edge, {}) for edge in inputs_of(node)]


def some_matter(node: Any, output: int, entries: Entries) -> Below:
    """Some entries of the only input; no telling if there are several."""
    edges = inputs_of(node)
    if len(edges) > 1:
        return None
    return [(edge, dict.fromkeys(range(len(shape_of(edge))))) for edge in edges]


def named(rule: Rule, operations: str) -> dict[str, Rule]:
    """One rule by the names of several operations, which are given with spaces between them."""
    return dict.fromkeys(operations.split(), rule)
