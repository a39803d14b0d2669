"""Following one loss down its autograd graph, as far as entries stay apart."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch.autograd.graph import GradientEdge, Node

from lightning_mtl.engine.entries.indices import in_order, without_common_index
from lightning_mtl.engine.entries.keeping import KEEPING
from lightning_mtl.engine.entries.mixing import MIXING
from lightning_mtl.engine.entries.nodes import (
    Below,
    Edge,
    Entries,
    inputs_of,
    operation_of,
    shape_of,
    some_matter,
)
from lightning_mtl.engine.entries.selecting import SELECTING

MOST = 64
"""How many sets of entries of one tensor are told apart, before the whole tensor is taken."""


@dataclass(frozen=True)
class Dependence:
    """What one loss depends on.

    Attributes:
        entries: the outputs above the first operations that mix entries, and for each of them the
            sets of entries that the loss depends on.
        mixed: the nodes which the loss depends on with everything below them.
        unfollowed: those nodes in `mixed` where entries were lost: the loss may depend on some of
            their inputs only.
    """

    entries: dict[Edge, list[Entries]]
    mixed: list[Node]
    unfollowed: list[Node]


def follow(root: GradientEdge) -> Dependence:
    """What the loss at `root` depends on."""
    if not _selects(root.node):
        return Dependence({}, [root.node], [])
    found = Dependence({}, [], [])
    stack: list[tuple[Edge, Entries]] = [((root.node, root.output_nr), {})]
    while stack:
        edge, entries = stack.pop()
        if entries:
            entries = _proper(entries, shape_of(edge))
        known = found.entries.get(edge, [])
        if {} in known or entries in known:
            continue
        if len(known) == MOST:
            entries = {}
        below = _below(edge, entries)
        if below is None:
            found.mixed.append(edge[0])
            if entries or is_compiled(edge[0]):
                found.unfollowed.append(edge[0])
        else:
            found.entries[edge] = [*known, entries] if entries else [entries]
            stack.extend(below)
    return found


def examined_by(root: GradientEdge) -> list[Node]:
    """The nodes that `follow` asks which entries matter; none where no entries are chosen."""
    if not _selects(root.node):
        return []
    found = follow(root)
    return list(dict.fromkeys([*(node for node, _ in found.entries), *found.mixed]))


def is_compiled(node: Node) -> bool:
    """Whether a node is a graph compiled by `torch.compile`, of which nothing else is known."""
    return node.name().startswith("CompiledFunction")


def apart(tasks: Sequence[Sequence[Entries]]) -> bool:
    """Whether no two tasks depend on the same entry of a tensor.

    Args:
        tasks: for each task, the sets of entries that it depends on.
    """
    every = [(task, entries) for task, sets in enumerate(tasks) for entries in sets]
    if any(in_order([entries.get(dim) for _, entries in every]) for dim in every[0][1]):
        return True
    return all(
        first == second or _disjoint(one, other)
        for index, (first, one) in enumerate(every)
        for second, other in every[:index]
    )


def _selects(root: Node) -> bool:
    """Whether there is a choice of entries above the operations that mix them.

    Most graphs have none, and need no more than this look at the few nodes of the loss itself.
    """
    seen = {root}
    stack = [root]
    while stack:
        node = stack.pop()
        operation = operation_of(node)
        if operation in KEEPING:
            new = [child for child, _ in node.next_functions if child and child not in seen]
            seen.update(new)
            stack.extend(new)
        elif operation in SELECTING or is_compiled(node):
            return True
    return False


def _disjoint(one: Entries, other: Entries) -> bool:
    return any(without_common_index(one[dim], other[dim]) for dim in one.keys() & other.keys())


def _below(edge: Edge, entries: Entries) -> Below:
    """The inputs that matter; `None` if it is all of them and all that is below them."""
    node, output = edge
    operation = operation_of(node)
    rule = SELECTING.get(operation) or KEEPING.get(operation)
    if not entries and operation in KEEPING:
        return [(child, {}) for child in inputs_of(node)]
    if entries and rule is None:
        rule = MIXING.get(operation, some_matter)
    return None if rule is None else rule(node, output, entries)


def _proper(entries: Entries, shape: Sequence[int]) -> Entries:
    """The same, without dimensions along which everything matters; an empty choice counts as all.

    Indices are put in ascending order.
    """
    proper: Entries = {}
    for dim, indices in sorted(entries.items()):
        if shape[dim] > 1 and indices is None:
            proper[dim] = None
        elif indices and len(indices) < shape[dim]:
            proper[dim] = indices if indices.step > 0 else indices[::-1]
    return proper
