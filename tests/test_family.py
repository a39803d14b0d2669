"""What holds for every weighting beside the equivalences: precision, absence, logged weights."""

import itertools

import lightning as L
import pytest
import torch
from torch import Tensor

from lightning_mtl.callbacks import GramianWeighting, JacobianWeighting, Weighting
from tests.support.toy import (
    Graded,
    PartlyGraded,
    Toy,
    parameters,
    quiet_trainer,
    toy_loader,
    validation,
    weights,
)
from tests.support.weightings import EXAMPLES, PRIOR, ROUTES, has_moved

# Weights that do not depend on which tasks a micro-batch has.
CONSTANT = ("EqualWeighting", "FixedWeighting", "UncertaintyWeighting", "IMTLL")
every_route = pytest.mark.parametrize("name", ROUTES.values())


EPOCHS = {"max_epochs": 3}
"""Short ones: some rules move with an epoch or a validation only."""


def fitted(name: str, module: Toy | None = None, batch_size: int = 4, **settings) -> Tensor:
    module = module or Graded()
    trainer = quiet_trainer(callbacks=[EXAMPLES[name]()], **settings)
    trainer.fit(module, toy_loader(batch_size), validation())
    assert has_moved(name, weights(module))
    return parameters(module)


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
        error = (applied - expected).norm() / (expected.norm() + 1e-12)
        self.worst = max(self.worst, float(error.detach()))
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


def witnessed(name: str, rule: Weighting, module: Toy, accumulate: int) -> Toy:
    """The module after a short training, in which the logged weights made the gradients."""
    witness = Witness(sums_losses(name))
    trainer = quiet_trainer(callbacks=[rule, witness], **EPOCHS, **windows(accumulate))
    trainer.fit(module, toy_loader(), validation())
    assert witness.steps == (12 if accumulate == 1 else 6)
    assert witness.worst < 1e-5
    return module


@pytest.mark.peer("L10", "L11")
@pytest.mark.parametrize(
    ("name", "network", "accumulate"), [case for case in CASES if has_one_weight_per_step(*case)]
)
def test_logged_weights_reproduce_the_applied_gradient(
    name: str, network: type[Toy], accumulate: int
) -> None:
    module = witnessed(name, EXAMPLES[name](), network(), accumulate)
    assert has_moved(name, weights(module))
    assert torch.isfinite(parameters(module)).all()


@pytest.mark.parametrize(
    ("name", "network", "accumulate"),
    [case for case in CASES if has_one_weight_per_step(*case) and case[0] in ROUTES.values()],
)
def test_logged_weights_of_a_prior_reproduce_the_applied_gradient_from_the_given_losses(
    name: str, network: type[Toy], accumulate: int
) -> None:
    witnessed(name, EXAMPLES[name](prior=PRIOR), network(), accumulate)
