"""What a step costs with a sketch, against exact rows."""

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from lightning_mtl.engine.sketching.sketch import Sketch
from tests.engine.sketching.costs import (
    count_flops,
    count_saved,
    exact_step,
    plain_step,
    sketched_step,
)
from tests.engine.sketching.networks import Heads, residual, small


def data(num_tasks: int, size: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(2, 3, size, size), torch.randn(num_tasks, 2, 3, 1, 1)


def numbers(module: Heads, size: int, rows: int) -> tuple[int, int]:
    """Of one row of a sketch, and of an exact one."""
    with Sketch(module.trunk, list(module.trunk.parameters()), rows, seed=0) as sketch:
        losses = module.losses(*data(len(module.heads), size))
        sketch.settle([get_gradient_edge(loss) for loss in losses])
    exact = sum(parameter.numel() for parameter in module.trunk.parameters())
    return sum(part.numel() for part in sketch.inputs), exact


def test_a_pass_computes_no_weight_gradients() -> None:
    module, batch = small(), data(5, 8)
    exact = count_flops(exact_step, module, *batch)
    sketched = count_flops(sketched_step, module, *batch, 1)
    plain = count_flops(plain_step, module, *batch)
    assert plain < sketched < 0.8 * exact


def test_a_call_without_gradients_costs_what_it_did() -> None:
    module, batch = small(), data(5, 8)
    run = torch.no_grad()(module.losses)
    plain = count_flops(run, *batch)
    with Sketch(module.trunk, list(module.trunk.parameters()), rows=4, seed=0):
        assert count_flops(run, *batch) == plain


@pytest.mark.slow
@pytest.mark.parametrize(("num_tasks", "most"), [(3, 0.9), (10, 0.67), (40, 0.58)])
def test_a_sketch_of_a_resnet_saves_the_weight_gradients(num_tasks, most) -> None:
    module, batch = residual(num_tasks), data(num_tasks, 64)
    sketched = count_flops(sketched_step, module, *batch)
    assert sketched < most * count_flops(exact_step, module, *batch)


def test_a_graph_holds_little_more_than_without_a_sketch() -> None:
    module, batch = residual(3), data(3, 32)
    plain, sketched = count_saved(module, *batch), count_saved(module, *batch, rows=16)
    assert plain < sketched < 1.1 * plain


def test_a_row_of_a_resnet_is_a_small_part_of_an_exact_one() -> None:
    sketched, exact = numbers(residual(), 32, rows=16)
    assert sketched < 0.02 * exact
