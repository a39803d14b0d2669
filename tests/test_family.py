"""What holds for every weighting: ranks, accumulation, resuming, precision, absence, truth."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import lightning as L
import pytest
import torch
from torch import Tensor

from lightning_mtl.callbacks import GramianWeighting, JacobianWeighting
from lightning_mtl.weightings.bases.cross_gramian_weighting import CrossGramianWeighting
from tests.support.ddp_toy import train_all, weights
from tests.support.ranks import results_of
from tests.support.toy import (
    TASKS,
    Graded,
    PartlyGraded,
    Toy,
    parameters,
    quiet_trainer,
    straight_and_resumed,
    toy_loader,
    validation,
)
from tests.support.weightings import EXAMPLES, ROUTES

# Rules on J_r J_sᵀ of different parts see more of them with more ranks or micro-batches.
OF_ALL_PARTS = [
    name for name in EXAMPLES if not isinstance(EXAMPLES[name](), CrossGramianWeighting)
]
# Weights that do not depend on which tasks a micro-batch has.
CONSTANT = ("EqualWeighting", "FixedWeighting", "UncertaintyWeighting", "IMTLL")
every_weighting = pytest.mark.parametrize("name", EXAMPLES)
every_weighting_of_all_parts = pytest.mark.parametrize("name", OF_ALL_PARTS)
every_route = pytest.mark.parametrize("name", ROUTES.values())


EPOCHS = {"max_epochs": 3}
"""Short ones: some rules move with an epoch or a validation only."""


def fitted(name: str, module: Toy | None = None, batch_size: int = 4, **settings) -> Tensor:
    module = module or Graded()
    trainer = quiet_trainer(callbacks=[EXAMPLES[name]()], **settings)
    trainer.fit(module, toy_loader(batch_size), validation())
    assert has_moved(name, weights(module))
    return parameters(module)


OFTEN_EQUAL = ("EqualWeighting", "GradVac", "PCGrad", "TorchJDWeighting")
"""The last three, of which one is a `GradVac`, have weights of 1 in a step without a conflict."""


def has_moved(name: str, weights: Tensor) -> bool:
    """Whether the weights, if there are any, have left those of equal weighting."""
    if name in OFTEN_EQUAL or not weights.numel():
        return True
    return bool((weights - 1).abs().max() > 1e-4)


@pytest.mark.peer("O20")
@every_weighting_of_all_parts
def test_accumulated_batches_equal_one_large_batch(name: str) -> None:
    whole = fitted(name, batch_size=16, limit_train_batches=2, **EPOCHS)
    parts = fitted(name, batch_size=4, limit_train_batches=8, accumulate_grad_batches=4, **EPOCHS)
    torch.testing.assert_close(parts, whole, atol=2e-5, rtol=1e-4)


@every_route
@pytest.mark.parametrize(
    "settings",
    [{"precision": "bf16-mixed"}, {"gradient_clip_val": 0.1}],
    ids=["bf16-mixed", "clipped"],
)
def test_precision_and_clipping_keep_working(name: str, settings: dict) -> None:
    start = parameters(Toy())
    trained = fitted(name, limit_train_batches=4, **EPOCHS, **settings)
    assert torch.isfinite(trained).all()
    assert not torch.equal(trained, start)


@pytest.mark.peer("L13", "T9", "O5", "O17")
@every_weighting
def test_resuming_in_the_middle_of_an_epoch_is_exact_to_the_bit(name: str, tmp_path: Path) -> None:
    straight, resumed = straight_and_resumed(EXAMPLES[name], tmp_path)
    assert torch.equal(parameters(resumed), parameters(straight))
    assert has_moved(name, weights(straight))
    assert has_moved(name, weights(resumed))


class Witness(L.Callback):
    """Compares the gradient that reaches the optimizer with the logged weights times J.

    Args:
        absent_is_zero: whether a task counts as 0 in a micro-batch that lacks it, as losses that
            are summed as they come do; else its gradient is the mean over those that have it.
    """

    def __init__(self, absent_is_zero: bool) -> None:
        self.absent_is_zero = absent_is_zero
        self.worst = 0.0
        self.steps = 0
        self.batches = 0
        self.rows: dict[str, list[Tensor]] = {}

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        trunk = list(pl_module.trunk.parameters())
        with torch.enable_grad():
            for task, loss in pl_module.task_losses(batch).items():
                row = torch.autograd.grad(
                    loss, trunk, retain_graph=True, allow_unused=True, materialize_grads=True
                )
                self.rows.setdefault(task, []).append(torch.cat([part.flatten() for part in row]))
        self.batches += 1

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        applied = torch.cat([p.grad.flatten() for p in pl_module.trunk.parameters()])
        assert set(pl_module.task_weights) == set(self.rows)
        expected = torch.zeros_like(applied)
        for task, rows in self.rows.items():
            count = self.batches if self.absent_is_zero else len(rows)
            expected += float(pl_module.task_weights[task]) * torch.stack(rows).sum(0) / count
        self.worst = max(self.worst, float((applied - expected).norm() / (expected.norm() + 1e-12)))
        self.steps, self.batches, self.rows = self.steps + 1, 0, {}


def sums_losses(name: str) -> bool:
    weighting = EXAMPLES[name]()
    return not (
        isinstance(weighting, (GramianWeighting, JacobianWeighting))
        or getattr(weighting, "depends_on_losses", False)
    )


# What the others apply is no weighted sum of the gradients of this very step.
OF_THIS_STEP = [
    name
    for name in EXAMPLES
    if not isinstance(EXAMPLES[name](), JacobianWeighting) or name == "ExcessMTL"
]


def windows(accumulate: int) -> dict[str, int]:
    """Settings of a fit: with tasks that come and go, as early as in the first batches."""
    return {"limit_train_batches": 2 * max(2, accumulate), "accumulate_grad_batches": accumulate}


def has_one_weight_per_step(name: str, network: type[Toy], accumulate: int) -> bool:
    """Weights of losses may differ from micro-batch to micro-batch with the tasks present."""
    apart = network is PartlyGraded and accumulate > 1
    return name in OF_THIS_STEP and (name in CONSTANT or not (apart and sums_losses(name)))


# One rule of every route shows that batches with all tasks are no special case.
CASES = [
    (name, network, accumulate)
    for name, network, accumulate in itertools.product(EXAMPLES, (Graded, PartlyGraded), (1, 4))
    if network is PartlyGraded or name in ROUTES.values() or sums_losses(name)
]


@pytest.mark.parametrize(
    ("name", "accumulate"),
    [
        (name, accumulate)
        for name, network, accumulate in CASES
        if network is PartlyGraded and not has_one_weight_per_step(name, network, accumulate)
    ],
)
def test_tasks_may_be_absent(name: str, accumulate: int) -> None:
    """The others of the family lack tasks in the test of the logged weights."""
    trained = fitted(name, PartlyGraded(), **EPOCHS, **windows(accumulate))
    assert torch.isfinite(trained).all()


@pytest.mark.peer("L10", "L11")
@pytest.mark.parametrize(
    ("name", "network", "accumulate"), [case for case in CASES if has_one_weight_per_step(*case)]
)
def test_logged_weights_reproduce_the_applied_gradient(
    name: str, network: type[Toy], accumulate: int
) -> None:
    witness, module = Witness(sums_losses(name)), network()
    trainer = quiet_trainer(callbacks=[EXAMPLES[name](), witness], **EPOCHS, **windows(accumulate))
    trainer.fit(module, toy_loader(), validation())
    assert witness.steps == (12 if accumulate == 1 else 6)
    assert witness.worst < 1e-5
    assert has_moved(name, weights(module))
    assert torch.isfinite(parameters(module)).all()


class AlwaysAbsent(Graded):
    """Announces a third task, which no batch ever has."""

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        del losses["three"]
        return losses


class Removed(AlwaysAbsent):
    task_names = TASKS[:2]


# Arguments that name the tasks, and draws of as many numbers as there are tasks.
TIED_TO_TASKS = ("FixedWeighting", "DynamicTaskPriority", "RandomWeighting")


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name not in TIED_TO_TASKS])
def test_an_absent_task_equals_a_removed_one(name: str) -> None:
    """In the statistics of the step, in the state of the weighting, and in what is applied."""
    absent, removed = (
        fitted(name, module, limit_train_batches=4, **EPOCHS)
        for module in (AlwaysAbsent(), Removed())
    )
    torch.testing.assert_close(absent, removed, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(absent, parameters(Toy()), atol=1e-3)


@pytest.fixture(scope="module")
def two_ranks() -> dict[str, Tensor]:
    """Every weighting trained by two gloo processes, each with half of every batch."""
    return results_of("ddp_toy")


@pytest.fixture(scope="module")
def one_rank() -> dict[str, Tensor]:
    return train_all(devices=1, batch_size=8)


@pytest.mark.peer("L5", "T12", "O18", "O19")
@every_weighting_of_all_parts
@pytest.mark.parametrize("variant", ["", "accumulated "])
def test_two_ranks_equal_one(name: str, variant: str, two_ranks, one_rank) -> None:
    torch.testing.assert_close(
        two_ranks[variant + name], one_rank[variant + name], atol=1e-5, rtol=1e-4
    )
    assert has_moved(name, two_ranks[f"weights {variant}{name}"])


@pytest.mark.peer("T12", "O18", "O19")
@every_weighting
def test_ranks_stay_alike_when_they_have_different_tasks(name: str, two_ranks) -> None:
    assert two_ranks[f"replicas {name}"] == 0.0
