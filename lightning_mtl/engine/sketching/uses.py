"""Where the graph of a step uses a weight, and whether each of these uses is that of a layer."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

from lightning_mtl.engine.graph import leaf_of

ON_THE_WAY_DOWN = ("TBackward0", "ToCopyBackward0")
"""What stands between a layer's operation and its weight: transposing it, and autocast."""

ON_THE_WAY_UP = ("View", "UnsafeView", "Squeeze", "Add", "_Tap")
"""What stands between a layer's output and its operation, as the beginnings of names."""

End = Node | Tensor
"""What an edge of the graph leads to: an operation or a parameter."""


class Call(NamedTuple):
    """One call of a layer.

    Attributes:
        output: the node of its output, before it was tapped.
        tap: the node that was put on top of it.
    """

    output: Node
    tap: Node


def nodes_below(roots: Sequence[GradientEdge]) -> list[Node]:
    """Every node of a graph."""
    nodes = dict.fromkeys(root.node for root in roots)
    stack = list(nodes)
    while stack:
        new = [child for child, _ in stack.pop().next_functions if child and child not in nodes]
        nodes.update(dict.fromkeys(new))
        stack.extend(new)
    return list(nodes)


def used_elsewhere(nodes: Iterable[Node], calls: Mapping[Tensor, Sequence[Call]]) -> set[Tensor]:
    """The weights that are not known to be used by the calls of their layers alone.

    A weight is known to be if all operations of the graph that use it are those of tapped calls,
    each of them once, and nothing but the tap uses what they return. A weight that no operation
    uses has a gradient of zero, which is known as well.

    Args:
        nodes: of the graph.
        calls: for each weight, the calls of the layers that it belongs to.
    """
    known: dict[tuple[End, End], Tensor] = {}
    for weight, own in calls.items():
        for call in own:
            path: list[End] = [*_path(call, weight), weight]
            known |= dict.fromkeys(pairwise(path), weight)
    watched: dict[End, Tensor] = {end: weight for (_, end), weight in known.items()}
    watched |= {weight: weight for weight in calls}
    uses: Counter[tuple[End, End]] = Counter()
    for node in nodes:
        if not _hands_down(node):
            ends = (_handed_down(child) for child, _ in node.next_functions)
            uses.update((node, end) for end in ends if end in watched)
    return {watched[use[1]] for use, times in uses.items() if use not in known or times > 1}


def _path(call: Call, weight: Tensor) -> list[Node]:
    """The nodes from a tap down to the operation on the weight; empty if it is not found there."""
    path = [call.tap]
    node: Node | None = call.output
    while node is not None:
        path.append(node)
        if any(_handed_down(child) is weight for child, _ in node.next_functions):
            return path
        passes = node.name().startswith(tuple(f"{name}Backward" for name in ON_THE_WAY_UP))
        node = node.next_functions[0][0] if passes else None
    return []


def _handed_down(node: Node | None) -> End | None:
    """The node itself, or the parameter that it hands on, transposed or in another dtype."""
    while node is not None and _hands_down(node):
        node = node.next_functions[0][0]
    parameter = None if node is None else leaf_of(node)
    return node if parameter is None else parameter


def _hands_down(node: Node) -> bool:
    return len(node.next_functions) == 1 and node.name() in ON_THE_WAY_DOWN
