"""Graphs of conflicting tasks, and their colours."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lightning_mtl.linalg.cosines import cosines_and_norms


def conflicts(gramian: Float[Tensor, "K K"], tolerance: float) -> Bool[Tensor, "K K"]:
    """Which pairs of tasks have gradients with -cos(g_i, g_j) > τ.

    Args:
        gramian: the inner products of the gradients, on the host; zeros on the diagonal for tasks
            that have no gradient, which conflict with none.
        tolerance: τ.

    Example:
        >>> conflicts(torch.tensor([[1.0, -0.5], [-0.5, 1.0]]), tolerance=0.2)
        tensor([[False,  True],
                [ True, False]])
    """
    cosines, _ = cosines_and_norms(gramian)
    edges = -cosines > tolerance
    return edges & ~torch.eye(len(edges), dtype=torch.bool)


def welsh_powell(edges: Bool[Tensor, "K K"]) -> list[int]:
    """A colour for each vertex, 0, 1, ..., such that no edge joins two of one colour.

    The vertices come in order of falling degree, the first of equals first. Each colour in turn is
    given to every vertex without a colour that no vertex of this colour is joined to.

    Welsh & Powell, "An upper bound for the chromatic number of a graph and its application to
    timetabling problems", The Computer Journal 1967.

    Args:
        edges: symmetric, without loops.

    Example:
        >>> path = torch.tensor([[0, 1, 0], [1, 0, 1], [0, 1, 0]]).bool()
        >>> welsh_powell(path)
        [1, 0, 1]
    """
    neighbours = [set(row.nonzero().flatten().tolist()) for row in edges]
    order = sorted(range(len(neighbours)), key=lambda vertex: -len(neighbours[vertex]))
    colours: dict[int, int] = {}
    colour = 0
    while len(colours) < len(order):
        holders: set[int] = set()
        for vertex in order:
            if vertex not in colours and not neighbours[vertex] & holders:
                colours[vertex] = colour
                holders.add(vertex)
        colour += 1
    return [colours[vertex] for vertex in range(len(neighbours))]
