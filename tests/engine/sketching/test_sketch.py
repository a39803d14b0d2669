"""What a sketch leaves as it was, and how it goes through a step."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.nn.modules.module import register_module_forward_hook
from torch.utils.checkpoint import checkpoint

from lightning_mtl.engine.graph import find_owners
from lightning_mtl.engine.sketching.sketch import Sketch
from tests.engine.sketching.measuring import (
    differentiate,
    exact_rows,
    projected_rows,
    sketched_rows,
    trainable,
)
from tests.engine.sketching.networks import small
from tests.support.reads import Reads

Run = Callable[[], Sequence[Tensor]]


def settle(sketch: Sketch, losses: Sequence[Tensor]) -> None:
    sketch.settle([get_gradient_edge(loss) for loss in losses])


def check(module: nn.Module, run: Run, sketched: int) -> None:
    rows, sketch = sketched_rows(module, run)
    assert len(sketch.sketched) == sketched
    torch.testing.assert_close(rows, projected_rows(module, run, sketch))


def hooks_of(module: nn.Module) -> int:
    return sum(len(part._forward_hooks) for part in module.modules())


def test_outputs_and_gradients_are_the_same_to_the_bit() -> None:
    module = small()
    run = module.run_on(8)
    plain = run()
    before = [part.clone() for row in differentiate(plain, trainable(module)) for part in row]
    with Sketch(module, trainable(module), rows=4, seed=0) as sketch:
        watched = run()
        settle(sketch, watched)
        after = [part for row in differentiate(watched, trainable(module)) for part in row]
    assert all(map(torch.equal, plain, watched))
    assert all(map(torch.equal, before, after))


def test_the_module_and_random_numbers_are_left_as_they_were() -> None:
    module = small()
    run, state = module.run_on(8), torch.get_rng_state()
    names = list(module.state_dict())
    with Sketch(module, trainable(module), rows=4, seed=0) as sketch:
        assert hooks_of(module) == len(sketch.leaves) == 9
        assert list(module.state_dict()) == names
        run()
    assert hooks_of(module) == 0
    assert torch.equal(torch.get_rng_state(), state)


def test_hooks_are_removed_after_an_exception() -> None:
    module = small()
    with pytest.raises(RuntimeError, match="channels"), Sketch(module, trainable(module), 4, 0):
        module.trunk(torch.zeros(1, 7, 8, 8))
    assert hooks_of(module) == 0


def test_removing_twice_does_nothing() -> None:
    module = small()
    sketch = Sketch(module, trainable(module), rows=4, seed=0)
    sketch.install()
    sketch.remove()
    sketch.remove()
    assert hooks_of(module) == 0


def test_one_seed_draws_the_same_signs_and_another_one_does_not() -> None:
    module = small()
    run = module.run_on(8)
    rows = [sketched_rows(module, run, seed=seed)[0][0][0] for seed in (3, 3, 4)]
    assert torch.equal(rows[0], rows[1])
    assert not torch.allclose(rows[0], rows[2])


def test_signs_are_independent_of_one_another() -> None:
    layers = [nn.Linear(2048, 2) for _ in range(2)]
    module = nn.Sequential(*layers)
    sketch = Sketch(module, trainable(module), rows=4, seed=0)
    signs = torch.cat([sketch._weights[layer.weight].projection for layer in layers])
    assert torch.equal(signs.abs(), torch.full_like(signs, 0.5))
    correlations = signs @ signs.T / 512
    torch.testing.assert_close(correlations, torch.eye(8), rtol=0, atol=0.1)


def test_nothing_is_read_by_the_host() -> None:
    module = small()
    run = module.run_on(8)
    with Reads() as reads:
        sketched_rows(module, run)
    assert not reads.found


def test_the_pass_that_trains_computes_no_gradients_of_the_leaves() -> None:
    module = small()
    run = module.run_on(8)
    sum(run()).backward()
    plain = [parameter.grad.clone() for parameter in trainable(module)]
    module.zero_grad()
    with Sketch(module, trainable(module), rows=4, seed=0) as sketch:
        losses = run()
        settle(sketch, losses)
        differentiate(losses, sketch.inputs)
        sketch.pause()
        sum(losses).backward()
    assert all(leaf.grad is None for leaf in sketch.leaves)
    for parameter, gradient in zip(trainable(module), plain, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_leaves_of_weights_that_are_kept_exact_get_no_gradients() -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(6, 6), torch.randn(2, 6)
    with Sketch(layer, trainable(layer), rows=2, seed=0) as sketch:
        loss = layer(x).sum() + layer.weight.sum()
        settle(sketch, [loss])
        loss.backward()
    assert sketch.leaves[0].grad is None


def test_a_walk_of_the_graph_can_be_handed_over() -> None:
    module = small()
    run = module.run_on(8)
    with Sketch(module, trainable(module), rows=4, seed=0) as sketch:
        losses = run()
        roots = [get_gradient_edge(loss) for loss in losses]
        sketch.settle(roots, find_owners(roots))
        assert len(sketch.sketched) == 9


def test_it_says_what_averages_belong_to() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 3), nn.LayerNorm(3))
    _, sketch = sketched_rows(module, lambda: [module(torch.randn(2, 6)).sum()])
    assert sketch.identity() == ["0.weight (3, 2)", "0.bias (3,)", "1.weight (3,)", "1.bias (3,)"]


def test_only_shared_parameters_are_measured() -> None:
    module = small()
    run = module.run_on(8)
    with Sketch(module, list(module.trunk.parameters()), rows=4, seed=0) as sketch:
        losses = run()
        settle(sketch, losses)
        rows = differentiate(losses, sketch.inputs)
    assert len(sketch.sketched) == 4
    assert len(rows[0]) == len(list(module.trunk.parameters()))


IN_PLACE = {
    "activation": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True)),
    "after a norm": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True)
    ),
    "tokens": lambda: nn.Sequential(nn.Linear(8, 4), nn.ELU(inplace=True)),
    "one image": lambda: nn.Sequential(nn.Flatten(0, 1), nn.Linear(8, 4), nn.ReLU(inplace=True)),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_the_next_layer_may_work_in_place(name) -> None:
    torch.manual_seed(0)
    module = IN_PLACE[name]()
    x = torch.randn(2, 3, 8, 8)
    check(module, lambda: [module(x).square().sum()], 1)


def test_a_network_may_write_into_the_output_of_a_layer() -> None:
    torch.manual_seed(0)
    convolution, x = nn.Conv2d(3, 4, 3), torch.randn(2, 3, 8, 8).double()

    def run() -> Sequence[Tensor]:
        y = convolution(x)
        y[:, 0] *= 2
        y += 1
        return [y.square().sum()]

    check(convolution.double(), run, 1)


def test_outputs_take_no_memory_of_their_own() -> None:
    layer = nn.Linear(6, 4)
    addresses: list[int] = []
    layer.register_forward_hook(lambda layer, args, y: addresses.append(y.data_ptr()))

    def before(layer: nn.Module, args: tuple[Tensor], y: Tensor) -> None:
        addresses.append(y.data_ptr())

    handle = register_module_forward_hook(before)
    with Sketch(layer, trainable(layer), rows=2, seed=0):
        y = layer(torch.randn(2, 6))
    handle.remove()
    assert y.grad_fn.name() == "_TapBackward"
    assert addresses == [y.data_ptr()] * 2


def test_only_the_layer_and_the_leaf_stand_below_a_tap() -> None:
    layer = nn.Linear(6, 4)
    with Sketch(layer, trainable(layer), rows=2, seed=0):
        y = layer(torch.randn(2, 6, requires_grad=True))
    assert sum(node is not None for node, _ in y.grad_fn.next_functions) == 2


@pytest.mark.parametrize("prepend", [False, True], ids=["after", "before"])
def test_hooks_of_the_user_change_the_output_as_before(prepend) -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(6, 4), torch.randn(2, 6)
    layer.register_forward_hook(lambda layer, args, y: 3 * y, prepend=prepend)
    layer.register_forward_pre_hook(lambda layer, args: (args[0] + 1,))
    check(layer, lambda: [layer(x).square().sum()], 1)


def test_hooks_of_the_user_on_the_backward_pass_see_what_they_saw() -> None:
    torch.manual_seed(0)
    module, x = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4)), torch.randn(2, 6)
    module[1].register_full_backward_hook(lambda layer, inputs, outputs: (2 * inputs[0],))
    module[1].register_full_backward_pre_hook(lambda layer, outputs: (5 * outputs[0],))
    check(module, lambda: [module(x).square().sum()], 1)


def test_gradients_of_outputs_that_hooks_change_are_changed_in_the_sketch() -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(6, 4), torch.randn(2, 6)

    def run() -> Sequence[Tensor]:
        y = layer(x)
        y.register_hook(lambda gradient: 7 * gradient)
        return [y.square().sum()]

    check(layer, run, 1)


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout(0.2)
        )
        self.last = nn.Conv2d(8, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(checkpoint(self.block, x, use_reentrant=False))


def test_checkpointed_layers_are_sketched() -> None:
    torch.manual_seed(0)
    module, x = Checkpointed(), torch.randn(2, 3, 8, 8)

    def run() -> Sequence[Tensor]:
        torch.manual_seed(1)
        y = module(x)
        return [y.square().mean(), y.sin().sum()]

    check(module, run, 2)


def test_the_pass_that_trains_runs_checkpointed_layers_again() -> None:
    torch.manual_seed(0)
    module, x = Checkpointed().eval(), torch.randn(2, 3, 8, 8)
    expected = exact_rows(module, lambda: [module(x).square().mean()])[0]
    with Sketch(module, trainable(module), rows=2, seed=0) as sketch:
        loss = module(x).square().mean()
        settle(sketch, [loss])
        differentiate([loss], sketch.inputs)
        sketch.pause()
        loss.backward()
    gradients = [parameter.grad for parameter in trainable(module)]
    torch.testing.assert_close(gradients, expected)


def test_a_checkpointed_layer_that_is_kept_exact_is_recomputed_alike() -> None:
    torch.manual_seed(0)
    module, x = Checkpointed().eval(), torch.randn(2, 3, 8, 8)
    convolution = module.block[0]

    def run() -> Sequence[Tensor]:
        return [module(x).square().mean() + convolution.weight.square().sum()]

    check(module, run, 1)


def test_a_gradient_taken_during_the_forward_pass_counts_no_call() -> None:
    torch.manual_seed(0)
    module, x = Checkpointed().eval(), torch.randn(2, 3, 8, 8)

    def run() -> Sequence[Tensor]:
        guide = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(module(guide).sum(), guide)
        return [module(x + gradient).square().mean()]

    check(module, run, 2)


def test_reentrant_checkpoints_train_but_allow_no_passes() -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(6, 6), torch.randn(2, 6, requires_grad=True)
    (expected,) = torch.autograd.grad(layer(x).sum(), layer.weight)
    with Sketch(layer, trainable(layer), rows=2, seed=0) as sketch:
        loss = checkpoint(layer, x, use_reentrant=True).sum()
        settle(sketch, [loss])
        with pytest.raises(RuntimeError, match="use_reentrant"):
            differentiate([loss], [*sketch.inputs, x])
        sketch.pause()
        loss.backward()
    torch.testing.assert_close(layer.weight.grad, expected)
    assert sketch.leaves[0].grad is None


def test_low_precision_is_sketched_in_that_and_summed_in_float32() -> None:
    module = small()
    run = module.run_on(8)

    def low() -> Sequence[Tensor]:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return run()

    rows, sketch = sketched_rows(module, low)
    assert len(sketch.sketched) == 9
    expected = projected_rows(module, low, sketch)
    for row, projected in zip(rows, expected, strict=True):
        assert all(part.dtype == torch.float32 for part in row)
        for part, other in zip(row, projected, strict=True):
            assert (part - other).norm() <= 0.02 * other.norm()


def test_half_precision_does_not_overflow() -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(512, 4), torch.ones(64, 512)

    def run() -> Sequence[Tensor]:
        with torch.autocast("cpu", dtype=torch.float16):
            return [60 * layer(x).sum()]

    rows, sketch = sketched_rows(layer, run, rows=1)
    assert torch.isfinite(rows[0][0]).all()
    torch.testing.assert_close(rows, projected_rows(layer, run, sketch))


def test_a_weight_that_autocast_converts_once_for_two_calls_has_one_sketch() -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(6, 6), torch.randn(2, 6)

    def run() -> Sequence[Tensor]:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return [layer(layer(x)).square().sum()]

    rows, sketch = sketched_rows(layer, run)
    assert len(sketch.sketched) == 1
    expected = projected_rows(layer, run, sketch)
    assert (rows[0][0] - expected[0][0]).norm() < 0.02 * expected[0][0].norm()


def test_gradients_with_a_graph_of_their_own_can_be_taken() -> None:
    torch.manual_seed(0)
    module = small()
    run = module.run_on(8)
    with Sketch(module, trainable(module), rows=2, seed=0) as sketch:
        losses = run()
        settle(sketch, losses)
        plain = differentiate(losses[:1], sketch.inputs)[0]
        graphed = torch.autograd.grad(
            losses[0], sketch.inputs, create_graph=True, allow_unused=True
        )
    for one, other in zip(plain, graphed, strict=True):
        torch.testing.assert_close(one, torch.zeros_like(one) if other is None else other.detach())
