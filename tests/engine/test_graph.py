"""What the tasks reach in the autograd graph, and where the trunk is cut off the heads."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_mtl.engine.graph import Reach, cut, join_features, reach, root_edge


class Parts:
    """Layers of a small network; each test wires them up in its own way."""

    def __init__(self) -> None:
        self.x = torch.randn(5, 4)
        self.trunk = nn.Linear(4, 4)
        self.middle = nn.Linear(4, 4)
        self.a = nn.Linear(4, 1)
        self.b = nn.Linear(4, 1)


@pytest.fixture
def parts() -> Parts:
    return Parts()


def reached(*losses: Tensor) -> Reach:
    return reach([root_edge(loss) for loss in losses])


def same(found: list[Tensor], *layers: nn.Module) -> bool:
    return set(found) == {p for layer in layers for p in layer.parameters()}


def cut_of(losses: list[Tensor], shared: list[Tensor]):
    return cut([root_edge(loss) for loss in losses], shared)


def test_what_two_losses_reach_is_shared_and_the_rest_is_their_own(parts):
    features = parts.trunk(parts.x).tanh()
    found = reached(parts.a(features).mean(), parts.b(features).sum())
    assert same(found.shared, parts.trunk)
    assert [same(found.task_specific[0], parts.a), same(found.task_specific[1], parts.b)] == [
        True,
        True,
    ]


def test_a_frozen_parameter_is_nobodys(parts):
    parts.trunk.bias.requires_grad_(False)
    features = parts.trunk(parts.x)
    found = reached(parts.a(features).mean(), parts.b(features).mean())
    assert found.shared == [parts.trunk.weight]


def test_a_loss_that_uses_another_shares_its_head(parts):
    features = parts.trunk(parts.x)
    first = parts.a(features).mean()
    found = reached(first, parts.b(features).mean() + first)
    assert same(found.shared, parts.trunk, parts.a)
    assert found.task_specific[0] == []
    assert same(found.task_specific[1], parts.b)


def test_the_trunk_is_cut_at_the_features(parts):
    features = parts.trunk(parts.x).tanh()
    losses = [parts.a(features).mean(), parts.b(features).mean()]
    parted = cut_of(losses, list(parts.trunk.parameters()))
    nodes = [[edge.node for edge in edges] for edges in parted.edges]
    assert nodes == [[features.grad_fn], [features.grad_fn]]
    assert parted.private


def test_features_at_several_depths_cannot_be_cut_unless_they_are_joined(parts):
    low = parts.trunk(parts.x).tanh()
    high = parts.middle(low).tanh()
    losses = [parts.a(low + high).mean(), parts.b(high).mean()]
    shared = [*parts.trunk.parameters(), *parts.middle.parameters()]
    assert cut_of(losses, shared) is None
    low, high = join_features([low, high])
    losses = [parts.a(low + high).mean(), parts.b(high).mean()]
    parted = cut_of(losses, shared)
    assert {edge.node for edges in parted.edges for edge in edges} == {high.grad_fn}
    assert parted.private


def test_a_loss_that_is_part_of_another_cannot_be_cut_off(parts):
    features = parts.trunk(parts.x)
    first = parts.a(features).mean()
    second = parts.b(features).mean() + first
    assert cut_of([first, second], [*parts.trunk.parameters(), *parts.a.parameters()]) is None


def test_joining_features_changes_no_number():
    features = [torch.randn(2, 3, requires_grad=True), torch.randn(4)]
    joined = join_features(features)
    torch.testing.assert_close(joined, features)
    (gradient,) = torch.autograd.grad((joined[0] ** 2).sum(), features[0])
    torch.testing.assert_close(gradient, 2 * features[0])


def test_a_graph_in_one_node_is_noticed(parts):
    class Whole(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *parameters):
            return tuple(parameters[0].new_ones(2).unbind())

        @staticmethod
        def backward(ctx, *gradients):
            return (None,) * 6

    layers = (parts.trunk, parts.a, parts.b)
    parameters = [p for layer in layers for p in layer.parameters()]
    assert reached(*Whole.apply(*parameters)).fused
    features = parts.trunk(parts.x)
    assert not reached(parts.a(features).mean(), parts.b(features).mean()).fused


def test_one_loss_alone_is_cut_above_the_shared_parameters(parts):
    features = parts.trunk(parts.x).tanh()
    parted = cut_of([parts.a(features).mean()], list(parts.trunk.parameters()))
    assert [edge.node for edge in parted.edges[0]] == [features.grad_fn]


def test_without_shared_parameters_there_is_no_trunk(parts):
    losses = [parts.a(parts.x).mean(), parts.b(parts.x).mean()]
    assert cut_of(losses, []).edges == [[], []]


def test_a_parameter_used_both_in_a_head_and_in_the_trunk_forbids_the_cut(parts):
    features = parts.trunk(parts.x).tanh()
    tied = (parts.b(features) + (features @ parts.trunk.weight).sum(1, keepdim=True)).mean()
    losses = [parts.a(features).mean(), tied]
    assert cut_of(losses, list(parts.trunk.parameters())) is None


def test_a_trunk_run_once_for_each_task_is_entered_at_its_parameters(parts):
    losses = [
        parts.a(parts.trunk(parts.x)).mean(),
        parts.b(parts.trunk(parts.x + 1)).mean(),
    ]
    shared = list(parts.trunk.parameters())
    parted = cut_of(losses, shared)
    for edges in parted.edges:
        assert {edge.node.variable for edge in edges} == set(shared)
    assert parted.private


@pytest.mark.peer("T13")
@pytest.mark.parametrize(
    "take",
    [
        lambda stacked: stacked.unbind(),
        lambda stacked: [stacked[0], stacked[1]],
        lambda stacked: [stacked[-2], stacked[-1]],
        list,
        lambda stacked: [stacked.select(0, 0), stacked.select(0, -1)],
    ],
    ids=["unbind", "index", "negative index", "list", "select"],
)
def test_entries_of_stacked_losses_reach_what_the_losses_reach(parts, take):
    features = parts.trunk(parts.x)
    losses = [parts.a(features).mean(), parts.b(features).mean()]
    entries = take(torch.stack(losses))
    assert [root_edge(entry).node for entry in entries] == [loss.grad_fn for loss in losses]
    found = reached(*entries)
    assert same(found.shared, parts.trunk)
    assert same(found.task_specific[0], parts.a)
    assert same(found.task_specific[1], parts.b)


def test_an_entry_of_something_other_than_a_stack_is_left_alone(parts):
    entry = parts.a(parts.x).flatten()[0]
    assert root_edge(entry).node is entry.grad_fn


def test_a_deep_graph_needs_no_deep_recursion(parts):
    features = parts.trunk(parts.x)
    for _ in range(5000):
        features = features + 0.0
    losses = [parts.a(features).mean(), parts.b(features).mean()]
    parted = cut_of(losses, list(parts.trunk.parameters()))
    assert parted.edges[0][0].node is features.grad_fn


class Stages(nn.Module):
    """Two stages, the second computed from the first, joined for the heads."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = nn.Linear(3, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        low = torch.tanh(self.low(x))
        joined = join_features([low, self.high(low)])
        return joined[0], joined[1]


def saved_and_loaded(network: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    file = BytesIO()
    torch.jit.save(network, file)
    file.seek(0)
    return torch.jit.load(file)


def exported(network: nn.Module, x: Tensor) -> nn.Module:
    file = BytesIO()
    torch.export.save(torch.export.export(network, (x,)), file)
    file.seek(0)
    return torch.export.load(file).module()


WAYS: dict[str, Callable[[nn.Module, Tensor], nn.Module]] = {
    "traced": lambda network, x: saved_and_loaded(torch.jit.trace(network, x)),
    "scripted": lambda network, x: saved_and_loaded(torch.jit.script(network)),
    "exported": exported,
}


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("gradients", [False, True])
def test_a_network_that_joins_its_features_can_be_saved_without_python(
    way: str, gradients: bool
) -> None:
    network, x = Stages(), torch.randn(2, 3)
    with torch.set_grad_enabled(gradients):
        found = WAYS[way](network, x)(x)
        expected = network(x)
    torch.testing.assert_close(found, expected)


def test_joined_features_leave_no_operation_in_an_exported_network() -> None:
    graph = torch.export.export(Stages(), (torch.randn(2, 3),)).graph
    called = [str(node.target) for node in graph.nodes if node.op == "call_function"]
    assert called == ["aten.linear.default", "aten.tanh.default", "aten.linear.default"]


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_without_gradients_the_features_are_handed_on(context: Callable[[], Any]) -> None:
    features = [torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)]
    with context():
        joined = join_features(features)
    assert all(a is b for a, b in zip(joined, features, strict=True))
    assert all(a is not b for a, b in zip(join_features(features), features, strict=True))
