"""NTKMTL: its weights, and one step against the authors' code for the shared representation."""

import pytest
import torch
from torch import Tensor

from lightning_mtl.callbacks import NTKMTL
from tests.support.jacobians import SCALES
from tests.support.toy import Toy, parameters, quiet_trainer, toy_loader


def weigh(*largest: float) -> Tensor:
    values = torch.tensor(largest, dtype=torch.float64)
    return NTKMTL().weights(torch.ones(len(largest)).double(), torch.diag(values))


def test_weights_are_those_of_the_printed_rule() -> None:
    for _ in range(20):
        largest = torch.rand(5, dtype=torch.float64) + 1e-3
        expected = torch.pow(largest.sum() / largest, 0.5)
        torch.testing.assert_close(weigh(*largest.tolist()), expected)


def test_only_the_ratios_of_eigenvalues_matter() -> None:
    for scale in (*SCALES, 1e-200, 1e200):
        torch.testing.assert_close(weigh(scale, 2 * scale), weigh(1, 2))
    torch.testing.assert_close(weigh(3, 3, 3, 3), torch.full((4,), 2.0).double())


def test_a_task_without_a_gradient_is_left_out() -> None:
    found = weigh(1, 0, 3)
    torch.testing.assert_close(found[[0, 2]], weigh(1, 3))
    assert found[1] == 1
    assert weigh(0, 0).tolist() == [1, 1]


def literal() -> Tensor:
    """The parameters after the authors' loop, the parts dealt out as here."""
    module = Toy()
    optimizer = module.configure_optimizers()
    for x, *targets in toy_loader(batch_size=8):
        features, largest, means = module.trunk(x), [], []
        for task, target in zip(module.task_names, targets, strict=True):
            errors = module.scales[task] * (module.heads[task](features) - target).square().mean(1)
            losses = [errors[part::4].mean() for part in range(4)]
            rows = [torch.autograd.grad(loss, features, retain_graph=True)[0] for loss in losses]
            matrix = torch.stack([row.flatten() for row in rows])
            largest.append(torch.linalg.eigvalsh(matrix @ matrix.T)[-1])
            means.append(torch.stack(losses).mean())
        eigenvalues = torch.stack(largest)
        weights = torch.pow(eigenvalues.sum() / eigenvalues, 0.5)
        optimizer.zero_grad()
        (torch.stack(means) * weights).sum().backward()
        optimizer.step()
    return parameters(module)


def test_a_run_is_the_authors_loop() -> None:
    module = Toy()
    quiet_trainer(callbacks=[NTKMTL()]).fit(module, toy_loader(batch_size=8))
    torch.testing.assert_close(parameters(module), literal(), rtol=1e-4, atol=1e-5)


def test_it_costs_no_pass_through_the_trunk_unless_batches_are_accumulated() -> None:
    assert NTKMTL().price == "F + H + B"
    assert NTKMTL().price_of(2) == "F + H + K B"


def test_there_is_at_least_one_part() -> None:
    with pytest.raises(ValueError, match=r"`NTKMTL\(parts=\)` should be at least 1. Found 0. Use"):
        NTKMTL(parts=0)
