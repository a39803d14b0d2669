"""Defects of other libraries that belong to no single file of ours: see `test_peers_table.py`."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from numpy import ndarray
from torch import Tensor

from lightning_mtl.callbacks import (
    DWA,
    FAMO,
    IMTLL,
    STCH,
    GeometricLoss,
    GramianWeighting,
    JacobianWeighting,
    LossWeighting,
    MoDo,
    SDMGrad,
    UncertaintyWeighting,
    Weighting,
)
from lightning_mtl.engine import window
from lightning_mtl.engine.transfers import to_host
from lightning_mtl.linalg import ball, cone, simplex
from lightning_mtl.linalg.host import arrays
from tests.engine.test_micro_batch import Ones
from tests.support.reads import Reads, copies, read_by
from tests.support.toy import TASKS, Toy, quiet_trainer, toy_loader
from tests.support.weightings import EXAMPLES

GRAMIAN = [name for name in EXAMPLES if isinstance(EXAMPLES[name](), GramianWeighting)]
JACOBIAN = [name for name in EXAMPLES if isinstance(EXAMPLES[name](), JacobianWeighting)]

# Host copies


class Read(Toy):
    """Watches its own backward pass, and may have a deeper trunk of larger layers."""

    def __init__(self, layers: int = 0) -> None:
        super().__init__()
        self.reads = Reads()
        inner = [torch.nn.Linear(16, 16) for _ in range(layers)]
        self.trunk = torch.nn.Sequential(*self.trunk[:3], *inner, *self.trunk[3:])

    def backward(self, loss: Tensor, *args: object, **kwargs: object) -> None:
        with self.reads:
            super().backward(loss)


def reads_of_a_step(
    weighting: Weighting, layers: int = 0, accumulate: int = 1
) -> list[tuple[str, int]]:
    module = Read(layers)
    trainer = quiet_trainer(callbacks=[weighting], max_steps=1, accumulate_grad_batches=accumulate)
    trainer.fit(module, toy_loader())
    return module.reads.found


def test_the_reads_are_noticed() -> None:
    assert read_by(torch.ones(2)) == [
        ("__float__", 1),
        ("cpu", 2),
        ("tolist", 2),
        ("__bool__", 1),
        ("to", 2),
        ("to", 2),
        ("item", 1),
        ("numpy", 2),
    ]


@pytest.mark.peer("L3", "L15", "T7")
@pytest.mark.parametrize("name", GRAMIAN)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_gramian_rule_reads_its_statistics_once_and_never_a_gradient(
    name: str, accumulate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LibMTL assembles every task's gradient on the host; TorchJD's solvers take more."""
    brought, solved = [], []

    def noted(*parts: Tensor) -> list[Tensor]:
        brought.append(sum(part.numel() for part in parts))
        return to_host(*parts)

    def turned(*tensors: Tensor) -> list[ndarray]:
        solved.extend(tensor.numel() for tensor in tensors)
        return arrays(*tensors)

    monkeypatch.setattr(window, "to_host", noted)
    for solver in (ball, cone, simplex):
        monkeypatch.setattr(solver, "arrays", turned)
    found = reads_of_a_step(EXAMPLES[name](), accumulate=accumulate)
    numbers = len(TASKS) ** 2 + 2 * len(TASKS)
    # MaxGNR has a second matrix, of its averaged gradients, and LearningRateAnnealing l1 norms.
    more = {"MaxGNR": len(TASKS) ** 2, "LearningRateAnnealing": len(TASKS)}
    averages = more.get(name.partition("(")[0], 0)
    assert brought == [numbers + averages]
    # What is on the host by then is turned into arrays, two calls for each; nothing else is copied.
    assert copies(found) == [count for count in solved for _ in ("cpu", "numpy")]
    assert all(count <= numbers + averages for _, count in found)


@pytest.mark.peer("L3")
@pytest.mark.parametrize("name", [name for name in JACOBIAN if name != "TorchJDWeighting"])
def test_a_jacobian_rule_reads_a_number_for_each_task_at_most(name: str) -> None:
    """LibMTL keeps the gradients of all tasks in a tensor of the host."""
    found = reads_of_a_step(EXAMPLES[name]())
    assert not copies(found)
    assert all(count <= len(TASKS) for _, count in found)


@pytest.mark.peer("O8")
@pytest.mark.parametrize("place", ["shared", "last_layer", "features"])
def test_what_a_step_reads_does_not_grow_with_the_network(place: str) -> None:
    """Nash-mtl asks the device for a number for each pair of tasks and each parameter."""
    assert reads_of_a_step(Ones(place), layers=8) == reads_of_a_step(Ones(place))


# Heads, weights and orders


class Heads(Toy):
    """Keeps the gradients of its heads, and counts its forward passes."""

    def __init__(self) -> None:
        super().__init__()
        self.forwards = 0
        self.gradients: dict[str, Tensor] = {}

    def task_losses(self, batch: list[Tensor]) -> dict[str, Tensor]:
        self.forwards += 1
        return super().task_losses(batch)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.gradients = {task: head.weight.grad.clone() for task, head in self.heads.items()}


def heads_after_a_step(weighting: Weighting) -> tuple[Heads, dict[str, Tensor]]:
    """And the gradient of each head by its own loss."""
    twin = Toy()
    losses = twin.task_losses(next(iter(toy_loader())))
    own = {t: torch.autograd.grad(losses[t], twin.heads[t].weight)[0] for t in losses}
    module = Heads()
    quiet_trainer(callbacks=[weighting], max_steps=1).fit(module, toy_loader())
    return module, own


WEIGHTS_HEADS = ("LearningRateAnnealing", "NTKMTL")
"""Rules whose authors' code weighs the losses, and so the heads too: their default, as a switch."""


@pytest.mark.peer("L24")
@pytest.mark.parametrize("name", [*GRAMIAN, *JACOBIAN])
def test_heads_receive_the_gradient_of_their_own_loss(name: str) -> None:
    """LibMTL's FairGrad weights the heads too, unlike its authors' code."""
    weighting = EXAMPLES[name]()
    if name in WEIGHTS_HEADS:
        assert weighting.weight_heads
        weighting.weight_heads = False
    module, own = heads_after_a_step(weighting)
    torch.testing.assert_close(module.gradients, own, atol=1e-6, rtol=1e-5)


@pytest.mark.peer("L24")
@pytest.mark.parametrize("name", GRAMIAN)
def test_heads_are_weighted_where_asked_for(name: str) -> None:
    """Whether the heads are weighted is a documented switch of every Gramian rule."""
    weighting = EXAMPLES[name]()
    weighting.weight_heads = True
    module, own = heads_after_a_step(weighting)
    expected = {task: own[task] * float(module.task_weights[task]) for task in TASKS}
    torch.testing.assert_close(module.gradients, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.peer("L15")
@pytest.mark.parametrize("build", [SDMGrad, MoDo])
def test_stochastic_rules_draw_no_batches_and_sum_no_heads(build: Callable[[], Weighting]) -> None:
    """LibMTL's SDMGrad sums the heads' gradients over the three batches of a step."""
    module, own = heads_after_a_step(build())
    assert module.forwards == 1
    torch.testing.assert_close(module.gradients, own, atol=1e-6, rtol=1e-5)


class Trunk(Toy):
    """Keeps the task gradients of the trunk, and what is applied of them."""

    def task_losses(self, batch: list[Tensor]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        trunk = list(self.trunk.parameters())
        rows = [torch.autograd.grad(loss, trunk, retain_graph=True) for loss in losses.values()]
        self.rows = [torch.cat([part.flatten() for part in row]) for row in rows]
        return losses

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.applied = torch.cat([p.grad.flatten() for p in self.trunk.parameters()])


@pytest.mark.peer("L11")
@pytest.mark.parametrize("name", JACOBIAN)
def test_a_rule_logs_the_weights_that_it_applies_or_none(name: str) -> None:
    """LibMTL's DB-MTL logs ones, which are not the weights of its direction."""
    module = Trunk()
    trainer = quiet_trainer(callbacks=[EXAMPLES[name]()], max_steps=3)
    trainer.fit(module, toy_loader())
    logged = [trainer.callback_metrics.get(f"train/weight/{task}") for task in TASKS]
    if logged == [None] * len(TASKS):
        assert name != "ExcessMTL"
        return
    expected = sum(weight * row for weight, row in zip(logged, module.rows, strict=True))
    torch.testing.assert_close(module.applied, expected, atol=1e-6, rtol=1e-4)


def final_weights(weighting: LossWeighting, order: list[int]) -> Tensor:
    """The weights of four tasks in this order, after six steps that are an epoch each."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(6):
        before, after = torch.rand(2, 4, generator=generator)[:, order] + 0.1
        weighting.update(before)
        if isinstance(weighting, FAMO):
            weighting.learn(before, after)
        if isinstance(weighting, DWA | STCH):
            weighting.end_epoch()
    return weighting.weights(torch.tensor([3.0, 0.1, 1.0, 9.0])[order])


@pytest.mark.peer("O17")
@pytest.mark.parametrize("build", [DWA, FAMO, GeometricLoss, IMTLL, STCH, UncertaintyWeighting])
def test_the_order_of_the_tasks_does_not_matter(build: Callable[[], LossWeighting]) -> None:
    """LDC-MTL compares adjacent tasks only."""
    order = [2, 0, 3, 1]
    expected = final_weights(build(), [0, 1, 2, 3])[order]
    assert expected.unique().numel() == 4
    torch.testing.assert_close(final_weights(build(), order), expected)


LEARNERS = {
    "UncertaintyWeighting": ("update", "log_variance"),
    "IMTLL": ("update", "log_scale"),
    "IMTL": ("weights", "log_scale"),
    "GradNorm": ("update", "weights"),
    "FAMO": ("learn", "logits"),
}


@pytest.mark.peer("L25")
@pytest.mark.parametrize("name", LEARNERS)
def test_the_networks_optimizer_does_not_move_what_a_weighting_learns(name: str) -> None:
    """In LibMTL the model's learning rate and weight decay act on log variances."""
    method, key = LEARNERS[name]
    weighting, twin = EXAMPLES[name](), EXAMPLES[name]()
    twin.tasks = TASKS
    learn = getattr(weighting, method)
    seen: list[tuple[Tensor, ...]] = []

    def spy(*given: Tensor) -> Tensor | None:
        seen.append(given)
        return learn(*given)

    setattr(weighting, method, spy)
    module = Toy(partial(torch.optim.AdamW, weight_decay=5.0))
    quiet_trainer(callbacks=[weighting]).fit(module, toy_loader())
    start = None
    for given in seen:
        getattr(twin, method)(*given)
        start = twin.memory.tensors[key].clone() if start is None else start
    assert len(seen) == 20
    assert torch.equal(weighting.memory.tensors[key], twin.memory.tensors[key])
    assert not torch.equal(start, twin.memory.tensors[key])
