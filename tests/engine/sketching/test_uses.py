"""Uses of a weight that its layer's calls do not explain: the weight is exact."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.autograd.graph import get_gradient_edge
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.modules.module import register_module_forward_hook

from lightning_mtl.engine.sketching.sketch import Sketch
from tests.engine.sketching.measuring import (
    differentiate,
    exact_rows,
    projected_rows,
    sketched_rows,
    trainable,
)

Forward = Callable[[nn.Module, Tensor], Tensor]


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6))


def check(module: nn.Module, forward: Forward, exact: Sequence[nn.Parameter]) -> None:
    """Only these weights are exact, and the gradients of the others are projected."""
    torch.manual_seed(1)
    x = torch.randn(3, 6)

    def run() -> Sequence[Tensor]:
        y = forward(module, x)
        return [y.square().mean(), y.sin().sum()]

    rows, sketch = sketched_rows(module, run)
    weights = [layer.weight for layer in module.modules() if isinstance(layer, nn.Linear)]
    assert set(weights) - set(sketch.sketched) == set(exact)
    torch.testing.assert_close(rows, projected_rows(module, run, sketch))


def in_a_function(module: nn.Module, x: Tensor) -> Tensor:
    return module(x) + F.linear(x, module[0].weight)


def instead_of_the_layer(module: nn.Module, x: Tensor) -> Tensor:
    return module[2](F.linear(x, module[0].weight))


def transposed(module: nn.Module, x: Tensor) -> Tensor:
    return module(x) @ module[0].weight.t()


def decayed(module: nn.Module, x: Tensor) -> Tensor:
    return module(x) + module[0].weight.square().sum()


def as_its_own_input(module: nn.Module, x: Tensor) -> Tensor:
    return module(x) + module[0](module[0].weight).sum()


def replaced(module: nn.Module, x: Tensor) -> Tensor:
    return functional_call(module, {"0.weight": 2 * module[0].weight}, (x,))


def doubly_differentiated(module: nn.Module, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    energy = module(x).sum()
    return torch.autograd.grad(energy, x, create_graph=True)[0]


@pytest.mark.parametrize(
    "forward",
    [in_a_function, instead_of_the_layer, transposed, decayed, as_its_own_input, replaced],
)
def test_a_weight_that_is_used_beside_its_layer_is_exact(forward) -> None:
    module = net()
    check(module, forward, [module[0].weight])


def test_weights_in_a_gradient_that_is_differentiated_again_are_exact() -> None:
    module = net()
    check(module, doubly_differentiated, [module[0].weight, module[2].weight])


def test_a_layer_that_is_called_twice_has_one_sketch_of_the_sum() -> None:
    check(net(), lambda module, x: module(module(x)), [])


def test_a_weight_of_two_layers_has_one_sketch_of_the_sum() -> None:
    module = net()
    module[2].weight = module[0].weight
    check(module, lambda module, x: module(x), [])


def test_a_layer_that_is_not_called_keeps_its_place_with_gradients_of_zero() -> None:
    check(net(), lambda module, x: module[0](x), [])


def test_a_call_that_no_loss_uses_is_left_out() -> None:
    check(net(), lambda module, x: (module[0](2 * x), module(x))[1], [])


def test_a_call_without_gradients_is_left_out() -> None:
    def forward(module: nn.Module, x: Tensor) -> Tensor:
        with torch.no_grad():
            target = module(x)
        return module(x) - 2 * target

    check(net(), forward, [])


def with_vmap(module: nn.Module, x: Tensor) -> Tensor:
    return torch.vmap(module)(x)


def with_a_functional_gradient(module: nn.Module, x: Tensor) -> Tensor:
    return torch.func.grad(lambda x: module(x).sum())(x)


def with_forward_mode(module: nn.Module, x: Tensor) -> Tensor:
    with forward_ad.dual_level():
        y, tangent = forward_ad.unpack_dual(module(forward_ad.make_dual(x, x.cos())))
    return y + tangent


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is")  # said by torch of itself
@pytest.mark.parametrize("forward", [with_vmap, with_a_functional_gradient, with_forward_mode])
def test_calls_under_other_kinds_of_differentiation_are_exact(forward) -> None:
    module = net()
    check(module, forward, [module[0].weight, module[2].weight])


def test_a_weight_of_two_convolutions_with_other_groups_is_exact() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 1, groups=2))
    module[1].weight = module[0].weight
    x = torch.randn(2, 4, 3, 3)

    def run() -> Sequence[Tensor]:
        return [module(x).square().sum()]

    rows, sketch = sketched_rows(module, run)
    assert not sketch.sketched
    torch.testing.assert_close(rows, exact_rows(module, run))


def test_a_weight_tied_to_an_embedding_is_exact() -> None:
    torch.manual_seed(0)
    embedding, layer = nn.Embedding(7, 6), nn.Linear(6, 7)
    layer.weight = embedding.weight
    module = nn.Sequential(embedding, layer)

    def run() -> Sequence[Tensor]:
        return [module(torch.tensor([1, 2])).square().sum()]

    rows, sketch = sketched_rows(module, run)
    assert not sketch.sketched
    torch.testing.assert_close(rows, exact_rows(module, run))


def test_the_projection_of_attention_which_is_not_called_is_exact() -> None:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(6, 2)
    check(attention, lambda module, x: module(x, x, x)[0], [attention.out_proj.weight])


def test_attention_heads_made_of_layers_are_sketched() -> None:
    torch.manual_seed(0)

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = nn.Linear(6, 18), nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            query, key, value = self.qkv(x)[None].chunk(3, -1)
            return self.out(F.scaled_dot_product_attention(query, key, value))[0]

    check(Attention(), lambda module, x: module(x), [])


def doubled(layer: nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor:
    return 2 * output


def added_to_itself(layer: nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor:
    return output + output.sin()


def hooked(layer: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
    output.register_hook(lambda gradient: 3 * gradient)


@pytest.mark.parametrize("hook", [doubled, added_to_itself, hooked])
def test_layers_whose_output_a_global_hook_changes_are_exact(hook) -> None:
    module = net()

    def only_layers(layer: nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor | None:
        return hook(layer, args, output) if isinstance(layer, nn.Linear) else None

    handle = register_module_forward_hook(only_layers)
    try:
        check(module, lambda module, x: module(x), [module[0].weight, module[2].weight])
    finally:
        handle.remove()


def test_a_layer_whose_output_a_global_hook_keeps_for_a_loss_is_exact() -> None:
    module = net()
    kept: list[Tensor] = []

    def keep(layer: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        if layer is module[0]:
            kept.append(output)

    handle = register_module_forward_hook(keep)
    try:
        check(module, lambda module, x: module(x) + kept.pop().cos(), [module[0].weight])
    finally:
        handle.remove()


def test_two_sketches_of_one_forward_pass_do_not_disturb_each_other() -> None:
    module = net()
    x = torch.randn(3, 6)

    def run() -> Sequence[Tensor]:
        return [module(x).square().sum(), module(x).sin().sum()]

    first, second = (Sketch(module, trainable(module), rows=2, seed=seed) for seed in (0, 1))
    with first, second:
        losses = run()
        for sketch in (first, second):
            sketch.settle([get_gradient_edge(loss) for loss in losses])
        rows = [differentiate(losses, sketch.inputs) for sketch in (first, second)]
    for sketch, own in zip((first, second), rows, strict=True):
        assert len(sketch.sketched) == 2
        torch.testing.assert_close(own, projected_rows(module, run, sketch))


def test_weights_can_be_kept_exact_that_another_rank_cannot_sketch() -> None:
    module = net()
    x = torch.randn(3, 6)
    with Sketch(module, trainable(module), rows=2, seed=0) as sketch:
        losses = [module(x).sum()]
        sketch.settle([get_gradient_edge(loss) for loss in losses])
        sketch.keep_exact([module[0].weight])
        rows = differentiate(losses, sketch.inputs)
    assert set(sketch.sketched) == {module[2].weight}
    torch.testing.assert_close(rows, projected_rows(module, lambda: [module(x).sum()], sketch))
