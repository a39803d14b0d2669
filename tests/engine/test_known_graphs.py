"""Graphs of a known shape are parted as if they had been walked."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from lightning_mtl import join_features
from lightning_mtl.engine.graph import cut, reach, root_edge
from lightning_mtl.engine.known_graphs import MOST, KnownGraphs


class Net(nn.Module):
    """A trunk of three layers, of which some may be skipped, and a head for each loss."""

    def __init__(self, tasks: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.heads = nn.ModuleList(nn.Linear(4, 1) for _ in range(tasks))

    def forward(self, x: Tensor, skip: Sequence[int] = (), join: bool = False) -> list[Tensor]:
        stages = []
        for index, layer in enumerate(self.layers):
            if index not in skip:
                x = layer(x).relu()
                stages.append(x)
        if join:
            first, *_, last = join_features(stages)
            x = first + last
        return [head(x).sum() for head in self.heads]


def roots(losses: Sequence[Tensor]) -> list[GradientEdge]:
    return [root_edge(loss) for loss in losses]


def assert_parted_alike(known: KnownGraphs, losses: Sequence[Tensor], shared: list[Tensor]) -> None:
    edges = roots(losses)
    found, expected = known.reach(edges), reach(edges)
    assert [id(p) for p in found.shared] == [id(p) for p in expected.shared]
    for task, leaves in zip(found.task_specific, expected.task_specific, strict=True):
        assert [id(p) for p in task] == [id(p) for p in leaves]
    assert found.owners == expected.owners
    assert found.fused == expected.fused and found.hidden == expected.hidden
    parted, walked = known.cut(found, shared), cut(edges, shared, expected.owners)
    assert (parted is None) == (walked is None)
    if parted is not None and walked is not None:
        assert parted.edges == walked.edges and parted.private == walked.private


@pytest.mark.parametrize("join", [False, True], ids=["one feature", "joined features"])
def test_each_step_of_one_shape_is_parted_as_if_walked(join: bool) -> None:
    net, known = Net(), KnownGraphs()
    shared: list[Tensor] = list(net.layers.parameters())
    for _ in range(3):
        assert_parted_alike(known, net(torch.randn(2, 4), join=join), shared)
    assert len(known._shapes) == 1


def test_another_path_another_task_or_a_frozen_layer_is_another_shape() -> None:
    net, known = Net(), KnownGraphs()
    shared: list[Tensor] = list(net.layers.parameters())
    for _ in range(2):
        assert_parted_alike(known, net(torch.randn(2, 4)), shared)
        assert_parted_alike(known, net(torch.randn(2, 4), skip=[1]), shared)
        assert_parted_alike(known, net(torch.randn(2, 4))[:2], shared)
    net.layers[0].requires_grad_(False)
    assert_parted_alike(known, net(torch.randn(2, 4)), shared[2:])
    assert len(known._shapes) == 4


def test_a_change_of_what_is_shared_parts_a_known_shape_anew() -> None:
    net, known = Net(), KnownGraphs()
    every: list[Tensor] = list(net.layers.parameters())
    for shared in (every, every[:4], every):
        assert_parted_alike(known, net(torch.randn(2, 4)), shared)


def test_a_replaced_layer_is_another_shape() -> None:
    net, known = Net(), KnownGraphs()
    assert_parted_alike(known, net(torch.randn(2, 4)), list(net.layers.parameters()))
    net.layers[1] = nn.Linear(4, 4)
    assert_parted_alike(known, net(torch.randn(2, 4)), list(net.layers.parameters()))
    assert len(known._shapes) == 2


def input_with_gradient(net: Net) -> list[Tensor]:
    return net(torch.randn(2, 4, requires_grad=True))


def entries_by_a_tensor(net: Net) -> list[Tensor]:
    losses = torch.stack([head.sum() for head in net(torch.randn(2, 4))]).exp()
    return [losses[torch.tensor([k])].sum() for k in range(3)]


@pytest.mark.parametrize("losses", [input_with_gradient, entries_by_a_tensor])
def test_what_the_shape_does_not_tell_is_walked(losses: Callable[[Net], list[Tensor]]) -> None:
    net, known = Net(), KnownGraphs()
    for _ in range(2):
        assert_parted_alike(known, losses(net), list(net.layers.parameters()))
    assert not known._shapes


def columns(net: Net, order: Sequence[int], width: int = 1) -> list[Tensor]:
    x = net.layers[0](torch.randn(2, 4))
    return [net.heads[0](x).sum() * 0 + x[:, k : k + width].sum() for k in order]


def rows_of_heads(net: Net, order: Sequence[int]) -> list[Tensor]:
    losses = torch.stack([head.sum() for head in net(torch.randn(2, 4))]).exp()
    return [losses[k] for k in order]


def test_the_same_choice_of_entries_is_known_and_another_one_is_not() -> None:
    net, known = Net(), KnownGraphs()
    shared: list[Tensor] = list(net.layers.parameters())
    for _ in range(2):
        assert_parted_alike(known, rows_of_heads(net, (0, 1, 2)), shared)
        assert_parted_alike(known, rows_of_heads(net, (2, 1, 0)), shared)
        assert_parted_alike(known, columns(net, (0, 1)), shared[:2])
        assert_parted_alike(known, columns(net, (0, 1), width=2), shared[:2])
    assert sum(map(len, known._shapes.values())) == 4


def test_few_shapes_are_remembered_and_no_graph() -> None:
    known = KnownGraphs()
    net = Net(tasks=1)
    for width in range(1, MOST + 6):
        x = torch.randn(2, 4)
        for _ in range(width):
            x = net.layers[0](x)
        known.reach(roots([x.sum()]))
    assert len(known._shapes) == MOST
    known.release()
    assert known._latest is None
    assert not any(known.reached.owners for shape in known._shapes.values() for known in shape)
