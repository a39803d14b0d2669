"""Rules of operations that select entries."""

from collections.abc import Iterator
from typing import Any

from lightning_mtl.engine.entries.indices import taken
from lightning_mtl.engine.entries.nodes import (
    Edge,
    Entries,
    Rule,
    dims_of,
    inputs_of,
    named,
    shape_of,
    signed,
    some_matter,
)


def _selected(node: Any, output: int, entries: Entries) -> Iterator[tuple[Edge, Entries]]:
    """One index along a dimension, which is then gone: `select`, or an output of `unbind`."""
    for edge in inputs_of(node):
        shape = shape_of(edge)
        (dim,) = dims_of(node._saved_dim, len(shape))
        index = signed(getattr(node, "_saved_index", output)) % shape[dim]
        below = {other + (other >= dim): entries[other] for other in entries}
        yield edge, below | {dim: range(index, index + 1)}


def _sliced(node: Any, output: int, entries: Entries) -> Iterator[tuple[Edge, Entries]]:
    for edge in inputs_of(node):
        shape = shape_of(edge)
        (dim,) = dims_of(node._saved_dim, len(shape))
        start, end = (
            None if bound is None else signed(bound)
            for bound in (node._saved_start, node._saved_end)
        )
        source = range(shape[dim])[start : end : node._saved_step]
        yield edge, entries | {dim: taken(source, entries.get(dim, range(len(source))))}


def _split(node: Any, output: int, entries: Entries) -> Iterator[tuple[Edge, Entries]]:
    """One of the parts of a `split` or `chunk`."""
    for edge in inputs_of(node):
        (dim,) = dims_of(node._saved_dim, len(shape_of(edge)))
        start = sum(shape_of((node, part))[dim] for part in range(output))
        source = range(start, start + shape_of((node, output))[dim])
        yield edge, entries | {dim: taken(source, entries.get(dim, range(len(source))))}


def _indexed(node: Any, output: int, entries: Entries) -> Iterator[tuple[Edge, Entries]]:
    """What a tensor of indices or a mask selects, which is not read: it may be on a device.

    A mask of samples, as in `losses[valid]`, depends on the data, so that every sample matters, and
    the dimensions behind it are followed. `predictions[:, index]` and a single index choose.
    """
    shape = shape_of((node, output))
    for edge in inputs_of(node):
        size = shape_of(edge)
        lead = len(size) - len(shape)
        if len(node._raw_saved_indices) == 1:
            behind = {dim + lead: at for dim, at in entries.items() if dim >= max(1, 1 - lead)}
            first = dict.fromkeys(range(lead + 1)) if lead >= 0 and shape[:1] in {(), (1,)} else {}
            yield edge, first | behind
        else:
            chooses = lead == 0 and shape[0] == size[0]
            yield edge, dict.fromkeys(range(len(size))) if chooses else {}


def _index_selected(node: Any, output: int, entries: Entries) -> Iterator[tuple[Edge, Entries]]:
    """As `_indexed`, along one dimension."""
    for edge in inputs_of(node):
        (dim,) = dims_of(node._saved_dim, len(shape_of(edge)))
        chooses = dim > 0 or shape_of((node, output))[dim] == 1
        below = {other: at for other, at in entries.items() if other != dim}
        yield edge, below | ({dim: None} if chooses else {})


SELECTING: dict[str, Rule] = {
    **named(_selected, "Select Unbind"),
    **named(_sliced, "Slice"),
    **named(_split, "Split SplitWithSizes"),
    **named(_indexed, "Index"),
    **named(_index_selected, "IndexSelect"),
    **named(some_matter, "AsStrided"),
}
"""Operations that select entries."""
