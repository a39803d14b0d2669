"""Losses that are not finite stop a run, with names, before anything is spoiled."""

import pytest
import torch

from lightning_mtl.guard import FiniteGuard, NonFiniteGradientError, NonFiniteLossError


def test_finite_losses_pass():
    guard = FiniteGuard()
    guard.watch(["a", "b"], torch.tensor([1e38, -1e38]), step=0)
    guard.check()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_bad_loss_on_the_host_raises_at_once_and_names_task_and_step(bad):
    with pytest.raises(NonFiniteLossError, match="step 17") as error:
        FiniteGuard().watch(["depth", "edges"], torch.tensor([1.0, bad]), step=17)
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


def pending(guard: FiniteGuard, loss: float, step: int) -> Arrived:
    event = Arrived()
    guard._pending.append((("a",), step, torch.tensor([loss]), event))
    return event


def test_losses_under_way_from_a_device_are_not_waited_for():
    guard = FiniteGuard()
    event = pending(guard, float("nan"), step=3)
    guard.check(wait=False)
    event.done = True
    with pytest.raises(NonFiniteLossError, match="step 3"):
        guard.check(wait=False)


def test_waiting_looks_at_everything_and_raises_for_the_first_bad_step():
    guard = FiniteGuard()
    for step, loss in enumerate([1.0, float("inf"), float("nan")]):
        pending(guard, loss, step)
    with pytest.raises(NonFiniteLossError, match=r"step 1 .*`a` = inf"):
        guard.check()


def test_gradients_are_named_by_their_tasks():
    error = NonFiniteGradientError(["depth", "edges"], 5)
    assert "step 5" in str(error)
    assert "`depth`, `edges`" in str(error)
