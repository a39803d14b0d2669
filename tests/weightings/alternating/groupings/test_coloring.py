"""Conflict graphs and Welsh-Powell colours: known graphs, a twin, and what every colouring is."""

import pytest
import torch
from torch import Tensor

from lightning_mtl.weightings.alternating.groupings.coloring import conflicts, welsh_powell
from tests.support.learned_groups import welsh_powell_by_loops


def graph(vertices: int, *edges: tuple[int, int]) -> Tensor:
    found = torch.zeros(vertices, vertices, dtype=torch.bool)
    for one, other in edges:
        found[one, other] = found[other, one] = True
    return found


def random_graph(seed: int, vertices: int, share: float) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    upper = (torch.rand(vertices, vertices, generator=generator) < share).triu(1)
    return upper | upper.T


CYCLE = [(i, (i + 1) % 5) for i in range(5)]
WHEEL = [*CYCLE, *((i, 5) for i in range(5))]


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        (graph(3), [0, 0, 0]),
        (graph(2, (0, 1)), [0, 1]),
        (graph(4, (0, 1), (0, 2), (0, 3)), [0, 1, 1, 1]),
        (graph(3, (0, 1), (0, 2), (1, 2)), [0, 1, 2]),
        (graph(5, *CYCLE), [0, 1, 0, 1, 2]),
        (graph(6, *WHEEL), [1, 2, 1, 2, 3, 0]),
    ],
    ids=["no edges", "one edge", "star", "triangle", "odd cycle", "wheel"],
)
def test_known_graphs_have_the_colours_found_by_hand(edges: Tensor, expected: list[int]) -> None:
    assert welsh_powell(edges) == expected


@pytest.mark.parametrize("share", [0.1, 0.4, 0.8])
def test_colours_are_those_of_the_twin_and_no_edge_has_one_colour(share: float) -> None:
    for seed in range(20):
        edges = random_graph(seed, 12, share)
        colours = welsh_powell(edges)
        assert colours == welsh_powell_by_loops(edges.tolist())
        assert all(colours[i] != colours[j] for i, j in edges.nonzero().tolist())
        assert set(colours) == set(range(max(colours) + 1))
        # The bound of Welsh and Powell.
        degrees = sorted(edges.sum(0).tolist(), reverse=True)
        assert max(colours) + 1 <= max(min(d + 1, i + 1) for i, d in enumerate(degrees))


@pytest.mark.parametrize("tolerance", [0.0, 0.2, 0.6])
def test_edges_join_tasks_whose_cosine_is_below_minus_the_tolerance(tolerance: float) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(7, 3, generator=generator) * torch.logspace(-3, 3, 7)[:, None]
    edges = conflicts(rows @ rows.T, tolerance)
    for i, one in enumerate(rows):
        for j, other in enumerate(rows):
            cosine = float(one @ other / one.norm() / other.norm())
            assert bool(edges[i, j]) == (i != j and -cosine > tolerance)
    assert edges.any() and torch.equal(edges, edges.T)


def test_a_task_without_a_gradient_conflicts_with_none() -> None:
    gramian = torch.tensor([[1.0, -0.9, 0.0], [-0.9, 1.0, 0.0], [0.0, 0.0, 0.0]])
    assert conflicts(gramian, 0.0).tolist() == graph(3, (0, 1)).tolist()
