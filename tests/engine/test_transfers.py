"""Numbers on their way between host and device."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_mtl.engine.errors import NonFiniteLossError
from lightning_mtl.engine.loss_guard import check_losses
from lightning_mtl.engine.transfers import Arrival, LateChecks, to_device


class UnderWay:
    """A copy from a device whose work ends when the test says so."""

    def __init__(self, numbers: Tensor) -> None:
        self.numbers = numbers
        self.is_here = False

    def wait(self) -> Tensor:
        self.is_here = True
        return self.numbers


def under_way(checks: LateChecks, loss: float, step: int) -> UnderWay:
    copy: Any = UnderWay(torch.tensor([loss]))
    checks._pending.append((copy, partial(check_losses, ["a"], step, None)))
    return copy


def test_what_is_on_the_host_is_looked_at_at_once():
    with pytest.raises(NonFiniteLossError, match="step 2"):
        LateChecks().add(torch.tensor([torch.nan]), partial(check_losses, ["a"], 2, None))


def test_numbers_under_way_from_a_device_are_not_waited_for():
    checks = LateChecks()
    copy = under_way(checks, float("nan"), step=3)
    checks.run(wait=False)
    copy.is_here = True
    with pytest.raises(NonFiniteLossError, match="step 3"):
        checks.run(wait=False)


def test_waiting_looks_at_everything_and_raises_for_the_first_bad_step():
    checks = LateChecks()
    for step, loss in enumerate([1.0, float("inf"), float("nan")]):
        under_way(checks, loss, step)
    with pytest.raises(NonFiniteLossError, match=r"step 1 .*`a` = inf"):
        checks.run()


def test_new_numbers_let_the_ones_that_have_arrived_be_looked_at():
    checks = LateChecks()
    under_way(checks, float("inf"), step=1).is_here = True
    with pytest.raises(NonFiniteLossError, match="step 1"):
        checks.add(torch.ones(1), partial(check_losses, ["a"], 2, None))


def test_a_tensor_on_the_host_has_arrived():
    numbers = torch.ones(2, requires_grad=True)
    arrival = Arrival(numbers)
    assert arrival.is_here
    assert torch.equal(arrival.wait(), torch.ones(2)) and not arrival.wait().requires_grad


def test_a_tensor_that_is_on_its_device_is_not_copied():
    numbers = torch.ones(2)
    assert to_device(numbers, numbers.device) is numbers


def test_a_copy_to_a_device_comes_from_pinned_memory_and_is_not_waited_for():
    calls: list[tuple[str, Any]] = []

    class Host:
        device = torch.device("cpu")

        def pin_memory(self) -> Any:
            calls.append(("pinned", True))
            copy = SimpleNamespace()
            copy.to = lambda device, non_blocking: calls.append((str(device), non_blocking))
            return copy

    numbers: Any = Host()
    to_device(numbers, torch.device("meta"))
    assert calls == [("pinned", True), ("meta", True)]
