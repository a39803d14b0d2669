"""The backward pass taken apart by tasks, against one plain differentiation per task."""

import pytest
import torch
from torch import Tensor, nn

from lightning_mtl.engine.graph import cut, join_features, reach, root_edge
from lightning_mtl.engine.task_backward import CutBackward, RootBackward, TaskBackward
from tests.support.toy import Toy, toy_data


def toy_losses(module: Toy) -> list[Tensor]:
    return list(module.task_losses(toy_data(6).tensors).values())


def taken_apart(losses: list[Tensor], cotangent: float = 1.0) -> tuple[TaskBackward, list[Tensor]]:
    roots = [root_edge(loss) for loss in losses]
    found = reach(roots)
    parted = cut(roots, found.shared)
    starts = [torch.tensor(cotangent)] * len(losses)
    if parted is None:
        root = RootBackward(roots, None, found.task_specific, found.shared, starts)
        return root, found.shared
    return CutBackward(roots, parted, found.task_specific, starts), found.shared


def literal_rows(losses: list[Tensor], inputs: list[Tensor]) -> list[tuple[Tensor, ...]]:
    return [torch.autograd.grad(loss, inputs, retain_graph=True) for loss in losses]


def test_rows_are_the_jacobian_of_functional_differentiation():
    module = Toy()
    batch = toy_data(6).tensors
    named = dict(module.trunk.named_parameters())

    def losses(trunk: dict[str, Tensor]) -> Tensor:
        features = torch.func.functional_call(module.trunk, trunk, batch[0])
        heads = zip(module.heads.items(), batch[1:], strict=True)
        return torch.stack(
            [
                module.scales[task] * nn.functional.mse_loss(head(features), target)
                for (task, head), target in heads
            ]
        )

    jacobian = torch.func.jacrev(losses)(named)
    backward, shared = taken_apart(toy_losses(module))
    index = {parameter: name for name, parameter in named.items()}
    for task, row in enumerate(backward.rows(shared)):
        for parameter, gradient in zip(shared, row, strict=True):
            torch.testing.assert_close(gradient, jacobian[index[parameter]][task])


def test_heads_get_the_gradient_of_their_own_loss():
    module = Toy()
    losses = toy_losses(module)
    backward, _ = taken_apart(losses)
    twins = toy_losses(module)
    for head, found, twin in zip(module.heads.values(), backward.heads, twins, strict=True):
        expected = torch.autograd.grad(twin, list(head.parameters()))
        torch.testing.assert_close(tuple(found), expected)


def test_the_cotangent_scales_rows_and_heads():
    module = Toy()
    backward, shared = taken_apart(toy_losses(module), cotangent=0.25)
    losses = toy_losses(module)
    for row, expected in zip(backward.rows(shared), literal_rows(losses, shared), strict=True):
        torch.testing.assert_close(tuple(row), tuple(0.25 * part for part in expected))


def test_backward_weighted_accumulates_the_weighted_sum_in_the_trunk_only():
    module = Toy()
    backward, shared = taken_apart(toy_losses(module))
    weights = [0.5, -2.0, 3.0]
    backward.backward_weighted([torch.tensor(weight) for weight in weights])
    rows = literal_rows(toy_losses(module), shared)
    for index, parameter in enumerate(shared):
        expected = sum(w * row[index] for w, row in zip(weights, rows, strict=True))
        torch.testing.assert_close(parameter.grad, expected)
    assert all(parameter.grad is None for parameter in module.heads.parameters())


def test_rows_at_an_inner_layer_leave_the_graph_for_the_weighted_pass():
    module = Toy()
    backward, shared = taken_apart(toy_losses(module))
    layer = list(module.trunk[3].parameters())
    rows = backward.rows(layer, keep_graph=True)
    torch.testing.assert_close(
        [tuple(row) for row in rows], literal_rows(toy_losses(module), layer)
    )
    backward.backward_weighted([torch.tensor(1.0)] * 3)
    assert all(parameter.grad is not None for parameter in shared)


class Skips(nn.Module):
    """Heads that read the trunk at several depths, as U-Nets do, or use a parameter of it."""

    def __init__(self, joined: bool, tied: bool) -> None:
        super().__init__()
        self.stages = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.heads = nn.ModuleList(nn.Linear(4, 1) for _ in range(2))
        self.joined = joined
        self.tied = tied

    def losses(self) -> list[Tensor]:
        x = torch.linspace(-1, 1, 12).view(3, 4)
        depths = []
        for stage in self.stages:
            x = stage(x).tanh()
            depths.append(x)
        low, middle, high = join_features(depths) if self.joined else depths
        matrix = self.stages[0].weight if self.tied else torch.eye(4)
        first = self.heads[0](low * high).square().mean()
        return [first, self.heads[1](middle + high @ matrix).square().mean() + 0.5 * first]


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_any_graph_gives_the_literal_rows_and_their_weighted_sum(joined, tied):
    module = Skips(joined, tied)
    backward, shared = taken_apart(module.losses())
    rows = literal_rows(module.losses(), shared)
    torch.testing.assert_close([tuple(row) for row in backward.rows(shared, keep_graph=True)], rows)
    (own,) = (head for head in backward.heads if head)
    expected = torch.autograd.grad(module.losses()[1], list(module.heads[1].parameters()))
    torch.testing.assert_close(tuple(own), expected)
    backward.backward_weighted([torch.tensor(2.0), torch.tensor(-1.0)])
    for index, parameter in enumerate(shared):
        torch.testing.assert_close(parameter.grad, 2.0 * rows[0][index] - rows[1][index])
    assert all(parameter.grad is None for parameter in module.heads[1].parameters())


def test_without_a_cut_the_shared_features_are_an_error_that_says_what_to_do():
    backward, _ = taken_apart(Skips(joined=False, tied=False).losses())
    with pytest.raises(ValueError, match=r"join_features`, or override `shared_features\(\)`"):
        backward.feature_rows()


class Ticking(torch.autograd.Function):
    """The identity, which counts how often it is differentiated."""

    @staticmethod
    def forward(ctx, x, counts, name):
        ctx.set_materialize_grads(False)
        ctx.tick = (counts, name)
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        counts, name = ctx.tick
        counts[name] += gradient is not None
        return gradient, None, None


@pytest.mark.parametrize("passes", ["rows", "weighted", "layer and weighted"])
def test_each_head_is_differentiated_once_and_the_trunk_as_often_as_asked(passes):
    counts = {"trunk": 0, "head": 0}
    low, high, one, two = (nn.Linear(4, 4) for _ in range(4))
    below = Ticking.apply(low(torch.ones(1, 4)).tanh(), counts, "trunk")
    above = high(below)
    stages = join_features([below, above])
    losses = [Ticking.apply(head(sum(stages)), counts, "head").sum() for head in (one, two)]
    backward, shared = taken_apart(losses)
    assert counts == {"trunk": 0, "head": 2}
    if passes == "rows":
        backward.rows(shared)
        assert counts == {"trunk": 2, "head": 2}
        return
    if passes == "layer and weighted":
        backward.rows(list(high.parameters()), keep_graph=True)
        backward.feature_rows()
    backward.backward_weighted([torch.tensor(1.0)] * 2)
    assert counts == {"trunk": 1, "head": 2}


def test_feature_rows_are_the_gradients_at_the_features():
    module = Toy()
    x, *targets = toy_data(6).tensors
    features = module.trunk(x)
    losses = [
        nn.functional.mse_loss(head(features), target)
        for head, target in zip(module.heads.values(), targets, strict=True)
    ]
    expected = literal_rows(losses, [features])
    backward, _ = taken_apart(losses)
    torch.testing.assert_close([tuple(row) for row in backward.feature_rows()], expected)


@pytest.mark.peer("O5", "O9")
def test_a_parameter_that_one_task_does_not_reach_has_a_row_of_zeros():
    low, high = nn.Linear(3, 3), nn.Linear(3, 3)
    first = low(torch.ones(1, 3))
    second = high(first)
    losses = [first.square().sum(), second.sum(), second.square().sum()]
    backward, shared = taken_apart(losses)
    rows = dict(zip(shared, backward.rows(shared)[0], strict=True))
    assert set(shared) == {*low.parameters(), *high.parameters()}
    assert not rows[high.weight].any()
    assert rows[low.weight].any()


def test_weights_are_not_rounded_to_the_low_precision_of_the_gradients():
    """Three times 0.5019 is 1.5 if each is rounded to bfloat16, and 1.5078 if their sum is."""
    weight = nn.Parameter(torch.ones(1, dtype=torch.bfloat16))
    features = weight * 1
    roots = [root_edge((features * 1).sum()) for _ in range(3)]
    parted = cut(roots, [weight])
    assert parted is not None
    starts = [torch.ones((), dtype=torch.bfloat16)] * 3
    backward = CutBackward(roots, parted, [[], [], []], starts)
    backward.backward_weighted([torch.tensor(0.5019)] * 3)
    assert float(weight.grad) == 1.5078125
