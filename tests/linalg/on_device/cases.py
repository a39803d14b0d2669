"""The Gramians that the twins are compared over, and how."""

from collections.abc import Iterator

from torch import Tensor

from tests.support.jacobians import all_awkward_jacobians, assert_close, jacobians

ALONG = 1e-9
"""How far the directions of two solvers may be apart, in units of the longest weighted row: both
are right to the root of a rounding at worst, where an objective is flat."""

ACROSS = 1e-4
"""How far the weights may be apart, in units of the largest: where rows depend on each other, a
ridge of 1e-10 decides, whose inverse makes 1e-5 of a rounding."""


def cases(*numbers: int) -> Iterator[tuple[str, Tensor]]:
    """Rows of every kind for every number of tasks, each after words that name them."""
    yield from all_awkward_jacobians(*numbers)
    for name, rows in jacobians(numbers):
        yield f"{name}, times 1e-12", rows * 1e-12


def assert_same_weights(
    found: Tensor, expected: Tensor, rows: Tensor, case: str, along: float = ALONG
) -> None:
    longest = float((expected.abs() * rows.norm(dim=1)).max()) or 1.0
    assert_close(found @ rows / longest, expected @ rows / longest, case, atol=along, rtol=0)
    largest = float(expected.abs().max()) or 1.0
    assert_close(found / largest, expected / largest, case, atol=ACROSS, rtol=0)
