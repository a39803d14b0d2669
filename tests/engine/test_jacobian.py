"""The matrix of task gradients, as Jacobian rules see it, against literal gradients."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from lightning_mtl.callbacks import JacobianWeighting
from lightning_mtl.engine.jacobian import columns
from tests.support.networks import OneByOne, Thaws, Tied
from tests.support.toy import TASKS, Toy, quiet_trainer, toy_loader


class Seen(JacobianWeighting):
    """Keeps what it is given, and answers with the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.jacobians: list[Tensor] = []

    def combine(self, losses: Tensor, jacobian: Tensor) -> Tensor:
        self.jacobians.append(jacobian.clone())
        return jacobian.sum(0)


class Absent(Toy):
    """In each micro-batch the tasks that its class attribute names."""

    present: Sequence[Sequence[str]] = ()

    def __init__(self) -> None:
        super().__init__()
        self.batches = 0

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        self.batches += 1
        return {task: losses[task] for task in self.present[self.batches - 1]}


def literal(network: Toy, present: Sequence[Sequence[str]], shared: Sequence[Tensor]) -> Tensor:
    """Each task's mean gradient over the batches that have it."""
    rows: dict[str, list[Tensor]] = {}
    for batch, tasks in zip(toy_loader(), present, strict=False):
        losses = Toy.task_losses(network, batch)
        for task in tasks:
            row = torch.autograd.grad(losses[task], shared, retain_graph=True)
            rows.setdefault(task, []).append(torch.cat([part.flatten() for part in row]))
    return torch.stack([torch.stack(rows[task]).mean(0) for task in TASKS if task in rows])


@pytest.mark.parametrize(
    "present",
    [
        [TASKS],
        [TASKS, TASKS],
        [("two", "three")],
        [("three", "one"), ("one", "three"), ("three",)],
        [("two", "three"), TASKS, ("one", "two")],
    ],
    ids=[
        "all tasks",
        "all tasks twice",
        "two tasks",
        "fewer and fewer tasks",
        "tasks that come and go",
    ],
)
def test_the_matrix_holds_the_mean_gradient_of_every_task_present(
    present: Sequence[Sequence[str]],
) -> None:
    kind = type("Present", (Absent,), {"present": present})
    rule = Seen()
    trainer = quiet_trainer(callbacks=[rule], max_steps=1, accumulate_grad_batches=len(present))
    trainer.fit(kind(), toy_loader())
    twin = Toy()
    expected = literal(twin, present, list(twin.trunk.parameters()))
    torch.testing.assert_close(rule.jacobians[0], expected, atol=1e-6, rtol=1e-5)


def test_what_was_collected_before_more_was_found_to_be_shared_is_kept() -> None:
    """The third task's loss has a term of the first head in it, as its first batch shows."""

    class Late(OneByOne):
        seen = (("one", "two"), ("one", "two"), TASKS)

        def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
            losses = super().task_losses(batch)
            if "three" in losses:
                losses["three"] = losses["three"] + self.heads["one"].weight.square().mean()
            return losses

    rule = Seen()
    quiet_trainer(callbacks=[rule], max_steps=1, accumulate_grad_batches=3).fit(
        Late(), toy_loader()
    )
    twin = Toy()
    trunk = sum(parameter.numel() for parameter in twin.trunk.parameters())
    expected = literal(twin, Late.seen, list(twin.trunk.parameters()))
    torch.testing.assert_close(rule.jacobians[0][:, :trunk], expected, atol=1e-6, rtol=1e-5)
    head = twin.heads["one"].weight
    own = torch.zeros(())
    for batch in list(toy_loader())[:3]:
        own = own + Toy.task_losses(twin, batch)["one"] / 3
    (of_one,) = torch.autograd.grad(own, head)
    found = rule.jacobians[0][:, trunk:]
    torch.testing.assert_close(found[0], of_one.flatten(), atol=1e-6, rtol=1e-5)
    assert not found[1].any()
    torch.testing.assert_close(found[2], (2 * head / head.numel()).detach().flatten())


@pytest.mark.parametrize("network", [Tied, Thaws])
def test_the_matrix_is_as_wide_as_what_is_shared(network: type[Toy]) -> None:
    rule, module = Seen(), network()
    quiet_trainer(callbacks=[rule]).fit(module, toy_loader())
    width = sum(p.numel() for p in module.trunk.parameters() if p.requires_grad)
    assert rule.jacobians[-1].shape == (len(TASKS), width)


@pytest.mark.parametrize("size", [1, 3, 8, 9])
def test_columns_are_views_that_cover_everything_once(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_mtl.engine.jacobian.CACHE", 2 * size)
    matrix, vector = torch.arange(16.0).view(2, 8), torch.zeros(8)
    for part, into in columns(matrix, vector):
        assert part.shape[1] <= size
        into += part.sum(0)
    assert torch.equal(vector, matrix.sum(0))
