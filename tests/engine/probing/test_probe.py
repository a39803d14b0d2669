from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from lightning_mtl.engine.probing.averages import gramian, updated
from lightning_mtl.engine.probing.perturbation import perturbed
from lightning_mtl.engine.probing.probe import probe, slopes
from tests.support.ddp_probes import Probed, trained
from tests.support.ranks import results_of
from tests.support.toy import TASKS, Log, Toy, quiet_trainer, toy_loader

NAMES = ["trunk.0.weight", "trunk.0.bias", "trunk.3.weight"]


class Probing(Toy):
    """Batch norm, dropout, a metric and a log; probes before each step if it is asked to."""

    def __init__(self, probes: int = 0) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(8)
        self.dropout = nn.Dropout(0.5)
        self.metric = MeanMetric()
        self.probes = probes

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        x, *targets = batch
        features = self.dropout(self.norm(self.trunk(x)))
        self.metric(features)
        self.log("features", features.mean())
        return {
            task: self.scales[task] * nn.functional.mse_loss(self.heads[task](features), target)
            for task, target in zip(TASKS, targets, strict=True)
        }

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        for seed in range(self.probes):
            probe(self.trainer, self, batch, NAMES, seed)
        return super().training_step(batch, batch_idx)


def test_training_goes_on_to_the_bit_as_if_nothing_had_been_probed() -> None:
    states, rows, means, numbers = [], [], [], []
    for probes in (0, 2):
        module, log = Probing(probes), Log()
        torch.manual_seed(1)
        quiet_trainer(callbacks=[log], limit_train_batches=4).fit(module, toy_loader())
        states.append(module.state_dict())
        rows.append(log.rows)
        means.append(module.metric.compute())
        numbers.append(torch.get_rng_state())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert rows[0] == rows[1] and "features" in rows[0][-1]
    assert means[0] == means[1] and torch.equal(*numbers)


def test_slopes_are_derivatives_along_the_direction_with_the_units_that_dropout_drops() -> None:
    module = Probing().double()
    batch = [part.double() for part in next(iter(toy_loader()))]
    trainer = trainer_of(module)
    before = {name: module.get_parameter(name).detach().clone() for name in NAMES}
    with perturbed(module, module, NAMES, seed=4, relative_size=1e-6) as size:
        v = [(module.get_parameter(name).detach() - before[name]) / size for name in NAMES]
    found = probe(trainer, module, batch, NAMES, seed=4, relative_size=1e-6)
    module.log = lambda *arguments: None
    losses = module.task_losses(batch)
    inputs = [module.get_parameter(name) for name in NAMES]
    expected = []
    for loss in losses.values():
        row = torch.autograd.grad(loss, inputs, retain_graph=True)
        expected.append(sum((g * d).sum() for g, d in zip(row, v, strict=True)))
    slope = slopes(found.output.losses, losses, found.size)
    torch.testing.assert_close(slope, torch.stack(expected), rtol=1e-3, atol=1e-6)


def trainer_of(module: Toy) -> Any:
    """A Trainer whose strategy has the module, as in training."""
    trainer = quiet_trainer()
    trainer.strategy.model = module
    return trainer


def cosines(matrix: Tensor) -> Tensor:
    """Of the pairs of tasks."""
    size = matrix.diagonal().sqrt()
    rows, columns = torch.triu_indices(len(matrix), len(matrix), 1)
    return (matrix / size[:, None] / size)[rows, columns]


def averaged(z: Tensor, decay: float = 0.99) -> Tensor:
    moment = weight = z.new_zeros(z.shape[1], z.shape[1])
    for slope in z:
        moment, weight = updated(moment, weight, slope, decay)
    return gramian(moment, weight)


def exact_gramian(module: Toy, batch: Any, names: Sequence[str]) -> Tensor:
    inputs = [module.get_parameter(name) for name in names]
    rows = []
    for loss in module.task_losses(batch).values():
        row = torch.autograd.grad(loss, inputs, retain_graph=True)
        rows.append(torch.cat([gradient.flatten() for gradient in row]))
    return torch.stack(rows) @ torch.stack(rows).T


def test_the_mean_of_the_products_of_slopes_is_the_gramian() -> None:
    module, batch = Toy(), next(iter(toy_loader()))
    trainer, count = trainer_of(module), 500
    losses = {task: loss.detach() for task, loss in module.task_losses(batch).items()}
    z = []
    for seed in range(count):
        found = probe(trainer, module, batch, NAMES[:2], seed)
        z.append(slopes(found.output.losses, losses, found.size))
    estimate = torch.stack(z).T @ torch.stack(z) / count
    exact = exact_gramian(module, batch, NAMES[:2])
    # Three standard deviations.
    torch.testing.assert_close(cosines(estimate), cosines(exact), atol=3 / count**0.5, rtol=0)
    torch.testing.assert_close(
        estimate.diagonal(), exact.diagonal(), rtol=3 * (2 / count) ** 0.5, atol=0
    )


def test_losses_in_half_precision_are_subtracted_in_float32() -> None:
    moved, losses = ({"one": torch.tensor(value, dtype=torch.bfloat16)} for value in (1.5, 1.0))
    found = slopes(moved, losses, torch.tensor(0.25))
    assert found.dtype == torch.float32 and found.tolist() == [2.0]


def test_a_coarse_precision_takes_larger_steps() -> None:
    module, batch = Toy(), next(iter(toy_loader()))
    sizes = []
    for precision in ("32-true", "bf16-mixed"):
        trainer = quiet_trainer(precision=precision)
        trainer.strategy.model = module
        sizes.append(probe(trainer, module, batch, NAMES, 0).size)
    torch.testing.assert_close(sizes[1], 10 * sizes[0])


@pytest.fixture(scope="module")
def two_ranks() -> Any:
    return results_of("ddp_probes", "3", "ddp", "static", "fsdp2")


@pytest.fixture(scope="module")
def one_rank() -> Any:
    return trained("one", 3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "static", "fsdp2"])
def test_two_ranks_find_the_slopes_of_one_and_train_as_one_that_does_not_probe(
    two_ranks: Any, one_rank: Any, kind: str
) -> None:
    found = two_ranks[kind]
    assert found["exact"] and one_rank["exact"]
    torch.testing.assert_close(found["z"], one_rank["z"], rtol=1e-8, atol=1e-8)
    without = trained("one", 0)["parameters"]
    torch.testing.assert_close(found["parameters"], without, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_sharded_cosines_are_within_a_tenth_after_200_probes() -> None:
    names = trained("one", 1)["learned"][""]
    z = results_of("ddp_probes", "600", "fsdp2")["fsdp2"]["z"]
    exact = cosines(gramian_of_second_step(names))
    errors = [cosines(averaged(z[start : start + 200])) - exact for start in (0, 200, 400)]
    assert torch.stack(errors).square().mean().sqrt() < 0.1


def gramian_of_second_step(names: Sequence[str]) -> Tensor:
    """The exact one where `trained` probes: after one step, on the second batch."""
    module = Probed(0)
    loader = iter(toy_loader(8))
    optimizer = module.configure_optimizers()
    torch.stack(list(module.task_losses(next(loader)).values())).sum().backward()
    optimizer.step()
    return exact_gramian(module, next(loader), names)
