"""Losses that cannot be trained by stop a run, with names, before anything is spoiled."""

import pytest
import torch

from lightning_mtl.engine.errors import (
    NegativeLossError,
    NonFiniteGradientError,
    NonFiniteLossError,
)
from lightning_mtl.engine.loss_guard import LossGuard, Watched


def test_finite_losses_pass():
    guard = LossGuard()
    guard.watch(["a", "b"], torch.tensor([1e38, -1e38]), step=0)
    guard.check()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_bad_loss_on_the_host_raises_at_once_and_names_task_and_step(bad):
    with pytest.raises(NonFiniteLossError, match="step 17") as error:
        LossGuard().watch(["depth", "edges"], torch.tensor([1.0, bad]), step=17)
    assert "`edges`" in str(error.value)
    assert "`depth`" not in str(error.value)


class Arrived:
    """An event of a device whose work ends when the test says so."""

    def __init__(self) -> None:
        self.done = False

    def query(self) -> bool:
        return self.done

    def synchronize(self) -> None:
        self.done = True


def pending(guard: LossGuard, loss: float, step: int, positive_for: str | None = None) -> Arrived:
    event = Arrived()
    guard._pending.append((Watched(("a",), torch.tensor([loss]), step, positive_for), event))
    return event


def test_losses_under_way_from_a_device_are_not_waited_for():
    guard = LossGuard()
    event = pending(guard, float("nan"), step=3)
    guard.check(wait=False)
    event.done = True
    with pytest.raises(NonFiniteLossError, match="step 3"):
        guard.check(wait=False)


def test_waiting_looks_at_everything_and_raises_for_the_first_bad_step():
    guard = LossGuard()
    for step, loss in enumerate([1.0, float("inf"), float("nan")]):
        pending(guard, loss, step)
    with pytest.raises(NonFiniteLossError, match=r"step 1 .*`a` = inf"):
        guard.check()


def test_a_negative_loss_is_refused_where_losses_have_to_be_positive():
    guard = LossGuard()
    losses = torch.tensor([1.0, -0.5, 0.0])
    guard.watch(["a", "b", "c"], losses, step=4)
    with pytest.raises(NegativeLossError, match=r"`Rule` should have .*`b` = -0.5 in step 4"):
        guard.watch(["a", "b", "c"], losses, step=4, positive_for="Rule")


def test_a_loss_of_zero_is_positive_enough():
    LossGuard().watch(["a", "b"], torch.tensor([1.0, 0.0]), step=0, positive_for="Rule")


def test_negative_losses_under_way_from_a_device_are_refused_when_they_arrive():
    guard = LossGuard()
    event = pending(guard, -1.0, step=3, positive_for="Rule")
    guard.check(wait=False)
    event.done = True
    with pytest.raises(NegativeLossError, match=r"`a` = -1.0 in step 3"):
        guard.check(wait=False)


def test_gradients_are_named_by_their_tasks():
    error = NonFiniteGradientError(["depth", "edges"], 5)
    assert "step 5" in str(error)
    assert "`depth`, `edges`" in str(error)
