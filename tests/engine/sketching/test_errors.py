"""How far Gramians of a sketch are from exact ones, relative to |g_i| |g_j|."""

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from lightning_mtl.engine.gradients import gramian
from tests.engine.sketching.measuring import errors, exact_rows, relative_errors, sketched_rows
from tests.engine.sketching.networks import residual, small


def one_layer() -> tuple[nn.Module, Callable[[], Sequence[Tensor]]]:
    torch.manual_seed(0)
    layer, x = nn.Linear(24, 8, bias=False), torch.randn(6, 24)
    targets = torch.randn(3, 6, 8)
    return layer, lambda: [(layer(x) - target).square().mean() for target in targets]


def test_the_mean_over_seeds_is_the_exact_gramian() -> None:
    found = errors(*one_layer(), rows=4, seeds=range(400))
    mean, deviation = found.mean(0), found.std(0)
    assert (mean.abs() < 4 * deviation / math.sqrt(len(found))).all()
    assert (deviation > 0.01).all()


def test_the_deviation_is_what_random_signs_have() -> None:
    layer, run = one_layer()
    found = errors(layer, run, rows=4, seeds=range(400))
    gradients = [row[0] for row in exact_rows(layer, run)]
    exact = gramian([[gradient] for gradient in gradients])
    for i, one in enumerate(gradients):
        for j, other in enumerate(gradients):
            product = one.T @ other
            symmetric = (product + product.T) / 2
            off_diagonal = symmetric - symmetric.diag().diag()
            expected = math.sqrt(2 / 4) * off_diagonal.norm() / (exact[i, i] * exact[j, j]).sqrt()
            assert found[:, i, j].std() == pytest.approx(float(expected), rel=0.15)


def test_more_rows_have_smaller_errors() -> None:
    module = small()
    run = module.run_on(8)
    found = (errors(module.trunk, run, rows, range(8)) for rows in (4, 16, 64))
    few, more, many = (float(error.square().mean().sqrt()) for error in found)
    assert 0.1 > few > 1.4 * more > 2 * many > 0


def test_a_sketch_with_more_rows_than_any_layer_has_inputs_is_exact() -> None:
    module = small()
    run = module.run_on(8)
    rows, sketch = sketched_rows(module.trunk, run, rows=10_000)
    assert not sketch.sketched
    exact = gramian(exact_rows(module.trunk, run))
    assert torch.equal(relative_errors(gramian(rows), exact), torch.zeros(5, 5).double())


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "expected"), [(4, 0.049), (16, 0.026), (64, 0.014)])
def test_the_error_on_a_resnet_is_that_of_the_trial(rows, expected) -> None:
    module = residual()
    found = errors(module.trunk, module.run_on(64), rows, range(12))
    assert found.square().mean().sqrt() < 1.3 * expected
    assert found.mean().abs() < 3 * expected / math.sqrt(len(found))
