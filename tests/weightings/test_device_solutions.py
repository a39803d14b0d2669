"""Rules that are solved on the device: no operation there makes the host wait, or copies."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_mtl.linalg import host
from lightning_mtl.weightings import gradvac, pcgrad
from lightning_mtl.weightings.memory.adam import Adam
from tests.support.jacobians import all_awkward_jacobians, assert_close, jacobians, random_jacobian
from tests.weightings.test_properties import DEFAULTS, RULES, losses_of, step

WAITING = {
    "aten::_linalg_check_errors",
    "aten::_linalg_eigh",
    "aten::_linalg_svd",
    "aten::_local_scalar_dense",
    "aten::_unique2",
    "aten::bincount",
    "aten::equal",
    "aten::is_nonzero",
    "aten::item",
    "aten::linalg_eig",
    "aten::linalg_lstsq",
    "aten::linalg_pinv",
    "aten::masked_select",
    "aten::multinomial",
    "aten::nonzero",
    "aten::repeat_interleave",
    "aten::unique_dim",
}
"""Operations after which the host has to know a number, or whether a factorization has failed."""

COPYING = {"aten::lift_fresh"}
"""What makes a tensor of Python's numbers: on a device, a copy."""

INDEXING = {"aten::index", "aten::index_put", "aten::index_put_"}
"""Waits where an index is a mask, whose size is not known."""


class OnDevice(TorchDispatchMode):
    """Refuses every operation that would wait for a device, or copy to it or from it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        assert name not in WAITING | COPYING, f"`{name}` waits for the device"
        if name in INDEXING:
            masks = [index for index in args[1] if index is not None and index.dtype == torch.bool]
            assert not masks, f"`{name}` by a mask waits for the device"
        result = func(*args, **(kwargs or {}))
        if name in ("aten::_to_copy", "aten::copy_"):
            source = args[1] if name == "aten::copy_" else args[0]
            assert result.device == source.device, f"`{name}` copies between devices"
        return result


DEVICE_RULES = [name for name, build in RULES.items() if build().most_on_device > 0]
"""Of all rules, so that none is missing below that claims it."""

every_rule = pytest.mark.parametrize("name", DEVICE_RULES)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The route of a device, on machines where the host is all there is."""
    monkeypatch.setattr(host, "HOST", "elsewhere")


ONE = torch.eye(2)


@pytest.mark.parametrize(
    "wait",
    [
        lambda: bool(ONE.any()),
        lambda: float(ONE.sum()),
        lambda: ONE.sum().item(),
        lambda: ONE[ONE > 0],
        lambda: ONE.clone().index_put_((ONE > 0,), torch.zeros(())),
        lambda: ONE.masked_select(ONE > 0),
        lambda: ONE.nonzero(),
        lambda: ONE.unique(),
        lambda: torch.equal(ONE, ONE),
        lambda: torch.linalg.eigh(ONE),
        lambda: torch.linalg.eigvalsh(ONE),
        lambda: torch.linalg.svd(ONE),
        lambda: torch.linalg.inv(ONE),
        lambda: torch.linalg.solve(ONE, ONE),
        lambda: torch.linalg.cholesky(ONE),
        lambda: torch.linalg.pinv(ONE),
        lambda: torch.linalg.lstsq(ONE, ONE),
        lambda: torch.tensor([1.0, 2.0]),
        lambda: ONE.new_tensor([1.0, 2.0]),
        lambda: ONE.to("meta"),
    ],
    ids=[
        "bool",
        "float",
        "item",
        "mask",
        "assignment by a mask",
        "masked select",
        "nonzero",
        "unique",
        "equal",
        "eigenvectors",
        "eigenvalues",
        "singular values",
        "inverse",
        "solution",
        "Cholesky factor",
        "pseudo-inverse",
        "least squares",
        "tensor of a list",
        "new tensor of a list",
        "copy",
    ],
)
def test_the_guard_refuses_what_waits(wait: Callable[[], object]) -> None:
    with OnDevice(), pytest.raises(AssertionError):
        wait()


@pytest.mark.parametrize(
    ("awkward", "usual"),
    [((3,), (8,)), pytest.param((2, 5, 8), (2, 3, 5), marks=pytest.mark.slow)],
    ids=["few", "many"],
)
@every_rule
def test_weights_are_those_of_the_host(
    name: str, awkward: tuple[int, ...], usual: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In two steps, the second of which meets what the first has learned.

    1e-6 along the gradients: a singular value of 1e-8 is right to that. 1e-4 of the largest weight
    across them, where gradients depend on each other and a ridge of 1e-10 decides.
    """
    for case, rows in (*all_awkward_jacobians(*awkward), *jacobians(usual)):
        rules = RULES[name](), RULES[name]()
        for factor in (1.0, 0.5):
            expected = step(rules[0], rows * factor)
            with monkeypatch.context() as patch, OnDevice():
                patch.setattr(host, "HOST", "elsewhere")
                found = step(rules[1], rows * factor)
            longest = float((expected.abs() * rows.norm(dim=1)).max()) or 1.0
            along = (found @ rows / longest, expected @ rows / longest)
            assert_close(*along, f"{case}, the direction", atol=1e-6, rtol=0)
            largest = float(expected.abs().max()) or 1.0
            assert_close(found / largest, expected / largest, case, atol=1e-4, rtol=0)
        logs = [{key: float(value) for key, value in rule.logs().items()} for rule in rules]
        assert logs[0] == pytest.approx(logs[1]), case


def no_copy(numbers: Tensor, other: Tensor) -> Tensor:
    """As long as the orders that `integers_beside` would unpack."""
    return torch.zeros(numbers.shape, dtype=numbers.dtype, device=other.device)


def pretends() -> bool:
    """Whether torch, which asked for a driver in older releases, indexes what is on no device."""
    try:
        with FakeTensorMode():
            torch.ones(2, 2, device="cuda")[0, 0]
    except RuntimeError:
        return False
    return True


@pytest.mark.skipif(not pretends(), reason="this torch pretends no device without its driver")
@pytest.mark.parametrize("name", [name for name in DEVICE_RULES if name in DEFAULTS])
def test_every_number_stays_on_a_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that only pretends: tensors without numbers, which refuse those of another one."""
    for module in (gradvac, pcgrad):  # orders are drawn on the host, whose numbers there are none
        monkeypatch.setattr(module, "integers_beside", no_copy)
    # So are the steps that Adam counts.
    monkeypatch.setattr(Adam, "_corrections", lambda adam, gradient: (0.1, 0.001))
    rule = RULES[name]()
    with FakeTensorMode(), OnDevice():
        losses = torch.ones(2, dtype=torch.float64, device="cuda")
        gramian = torch.ones(2, 2, dtype=torch.float64, device="cuda")
        for _ in range(2):
            weights = rule.weights(losses, gramian)
    assert weights.device == gramian.device


@pytest.mark.usefixtures("elsewhere")
@every_rule
def test_what_is_not_finite_raises_nothing(name: str) -> None:
    """It is refused later, when the host knows of it; an index out of range would end the run."""
    for number in (torch.nan, torch.inf):
        gramian = torch.full((3, 3), number, dtype=torch.float64)
        assert RULES[name]().weights(torch.ones(3).double(), gramian).shape == (3,)


@pytest.mark.usefixtures("elsewhere")
@every_rule
def test_the_number_of_operations_is_small(name: str) -> None:
    """Views included; launching one that computes takes some 5 us."""
    rows = random_jacobian(8, 20)
    with Counts() as counts:
        RULES[name]().weights(losses_of(rows), rows @ rows.T)
    assert 0 < counts.number < 1200


class Counts(TorchDispatchMode):
    """Counts operations."""

    number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.number += 1
        return func(*args, **(kwargs or {}))
