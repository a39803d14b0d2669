"""Losses that are entries of one vector train as losses of their own do."""

import warnings
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from lightning_mtl.callbacks import MGDA, AlternatingUpdates, PCGrad, UncertaintyWeighting
from lightning_mtl.engine.graph import cut, reach, root_edge
from lightning_mtl.module import MultiTaskModule
from tests.support.toy import TASKS, Graded, Toy, parameters, quiet_trainer, toy_loader, validation
from tests.support.weightings import EXAMPLES, ROUTES

Losses = Callable[[Tensor, Tensor, Tensor], Sequence[Tensor]]


def vector(outputs: Tensor, targets: Tensor, scales: Tensor) -> Sequence[Tensor]:
    per_task = mse_loss(outputs, targets, reduction="none").mean((0, 2)) * scales
    return [per_task[0], per_task[1], per_task[2]]


def columns(outputs: Tensor, targets: Tensor, scales: Tensor) -> Sequence[Tensor]:
    errors = (outputs - targets).flatten(1).square()
    return [part.mean() * scales[task] for task, part in enumerate(errors.split(2, dim=1))]


class Vector(Graded):
    """The toy, whose heads' outputs are joined before the losses are computed."""

    def __init__(self, losses: Losses = vector, kept: Sequence[str] = TASKS) -> None:
        super().__init__()
        self.losses = losses
        self.kept = kept

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        x, *targets = batch
        features = self.trunk(x)
        outputs = torch.cat([self.heads[task](features) for task in TASKS], dim=1).view(-1, 3, 2)
        scales = torch.tensor([self.scales[task] for task in TASKS])
        losses = self.losses(outputs, torch.stack(targets, dim=1), scales)
        named = dict(zip(TASKS, losses, strict=True))
        return {task: named[task] for task in self.kept}


class Separate(Graded):
    def __init__(self, kept: Sequence[str] = TASKS) -> None:
        super().__init__()
        self.kept = kept

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        return {task: losses[task] for task in self.kept}


def trained(module: Toy, name: str, **settings: int) -> Tensor:
    trainer = quiet_trainer(
        callbacks=[EXAMPLES[name]()], max_epochs=2, limit_train_batches=2, **settings
    )
    trainer.fit(module, toy_loader(), validation())
    return parameters(module)


@pytest.mark.parametrize("name", EXAMPLES)
def test_entries_of_a_vector_train_as_separate_losses_do(name):
    torch.testing.assert_close(
        trained(Vector(), name), trained(Separate(), name), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", [ROUTES[route] for route in ROUTES if "Gramian" in route])
def test_columns_of_a_matrix_train_as_separate_losses_do(name):
    settings = {"accumulate_grad_batches": 2}
    torch.testing.assert_close(
        trained(Vector(columns), name, **settings),
        trained(Separate(), name, **settings),
        rtol=1e-4,
        atol=1e-5,
    )


def test_heads_of_absent_tasks_belong_to_nobody():
    """Their entries are computed and not returned: no gradient, momentum or decay moves them."""
    module = Vector(kept=("one", "three"))
    before = parameters(module.heads["two"]).clone()
    torch.testing.assert_close(
        trained(module, "PCGrad"), trained(Separate(("one", "three")), "PCGrad")
    )
    torch.testing.assert_close(parameters(module.heads["two"]), before)
    assert all(p.grad is None for p in module.heads["two"].parameters())


@pytest.mark.parametrize("losses", [vector, columns])
def test_heads_rest_while_the_entries_of_another_group_train(losses):
    def after_training(module: Graded) -> Tensor:
        module.optimizer = torch.optim.AdamW
        callback = AlternatingUpdates(group_size=2, seed=0)
        trainer = quiet_trainer(callbacks=[callback], max_steps=6)
        trainer.fit(module, toy_loader(), validation())
        return parameters(module)

    torch.testing.assert_close(after_training(Vector(losses)), after_training(Separate()))


def toy_losses(losses: Losses, kept: Sequence[str] = TASKS) -> tuple[Toy, list[Tensor]]:
    module = Vector(losses, kept)
    return module, list(module.task_losses(next(iter(toy_loader()))).values())


@pytest.mark.parametrize("losses", [vector, columns])
def test_the_trunk_is_cut_where_the_heads_of_a_vector_leave_it(losses):
    module, values = toy_losses(losses)
    roots = [root_edge(loss) for loss in values]
    parted = cut(roots, reach(roots).shared)
    assert parted is not None
    assert {edge.node.name() for edges in parted.edges for edge in edges} == {"TanhBackward0"}
    assert set(reach(roots).shared) == set(module.trunk.parameters())


@pytest.mark.parametrize("kept", [TASKS, ("two",)])
def test_heads_keep_their_buffers_where_other_losses_run_through_them(kept):
    """Autograd sends zeros through the heads of all entries, also of those nobody returns."""
    _, values = toy_losses(vector, kept)
    roots = [root_edge(loss) for loss in values]
    parted = cut(roots, reach(roots).shared)
    assert parted is not None
    assert not parted.private


def test_a_joint_head_is_cut_at_its_input():
    features = nn.Linear(4, 4)(torch.randn(5, 4)).tanh()
    head = nn.Linear(4, 2)
    outputs = head(features)
    separate = [outputs[:, 0].square().mean(), outputs[:, 1].square().mean()]
    entries = list(outputs.square().mean(0))
    for losses in (separate, entries):
        roots = [root_edge(loss) for loss in losses]
        shared = reach(roots).shared
        parted = cut(roots, shared)
        assert parted is not None
        nodes = {edge.node for edge in parted.edges[0]}
        assert features.grad_fn in nodes
        assert outputs.grad_fn not in nodes


def test_a_joint_head_with_a_skip_connection_is_still_cut():
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    hidden = first(torch.randn(5, 4))
    outputs = second(hidden.tanh()) + hidden
    roots = [root_edge(loss) for loss in outputs.square().mean(0)]
    parted = cut(roots, reach(roots).shared)
    assert parted is not None


class InPlace(Separate):
    """A module that writes its losses into a vector, which the graph shows no positions of."""

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        values = super().task_losses(batch)
        losses = torch.zeros(len(values))
        for index, value in enumerate(values.values()):
            losses[index] = value
        return {task: losses[index] for index, task in enumerate(values)}


class Named(InPlace):
    def shared_parameters(self):
        return list(self.trunk.parameters())


def warned_by(module: MultiTaskModule, *callbacks: object) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        quiet_trainer(callbacks=list(callbacks), max_steps=3).fit(module, toy_loader())
    return [str(warning.message) for warning in caught if "look shared" in str(warning.message)]


def test_parameters_that_look_shared_by_mistake_are_named_once():
    (message,) = warned_by(InPlace(), PCGrad())
    assert "heads.one.weight, heads.one.bias, heads.two.weight" in message
    assert "and 1 more" in message
    assert "trunk" not in message


def test_nobody_is_warned_who_names_the_shared_parameters_or_does_not_ask_for_them():
    assert warned_by(Named(), MGDA()) == []
    assert warned_by(InPlace(), UncertaintyWeighting()) == []
    assert warned_by(InPlace()) == []


def test_nobody_is_warned_of_entries_that_are_followed():
    assert warned_by(Vector(), PCGrad()) == []
