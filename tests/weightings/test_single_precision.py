"""What every Gramian rule promises in single precision, with what is left of it there."""

import pytest
import torch

from tests.support.jacobians import (
    SCALES,
    agreeing_jacobian,
    all_awkward_jacobians,
    assert_close,
    jacobians,
    permutation,
    random_jacobian,
)
from tests.weightings.test_properties import (
    DRAWN,
    FREE_OF_SCALE,
    NOT_OPPOSING,
    RULES,
    direction,
    least_progress,
    solve,
    unit,
)

LEAPING = ("SDMGrad",)
"""Whose steps are too long to converge, as the authors chose them: 10, where those on an agreeing
Jacobian of three rows converge below 5.9, which is 2 (1 + momentum) over the largest eigenvalue
along the simplex. Each step makes a rounding some 1.7 times as large until the simplex stops it,
and 20 of them 3e4 times: the rounding of a product decides the third digit. What is left of the
promises is that the same Gramian gives the same weights; with shorter steps, `SDMGrad(lr)`, all of
them hold.
"""


@pytest.mark.parametrize("name", LEAPING)
def test_scales_that_round_nothing_change_nothing(name: str) -> None:
    """Powers of two: to the bit, whatever the rule makes of a rounding."""
    for case, jacobian in jacobians((1, 2, 3, 10, 40)):
        rows = jacobian.float()
        reference = solve(name, rows)
        for exponent in (-40, -10, 17, 40):
            found = solve(name, rows * 2.0**exponent)
            assert torch.equal(found, reference), f"{case}, times 2**{exponent}"


@pytest.mark.parametrize("name", [name for name in FREE_OF_SCALE if name not in LEAPING])
def test_the_direction_does_not_depend_on_the_scale(name: str) -> None:
    """The Gramian holds the squares: 1e-12 and 1e12 are still in range, their squares as well."""
    for case, jacobian in jacobians((1, 2, 3, 10), random_jacobian, agreeing_jacobian):
        rows = jacobian.float()
        reference = unit(direction(name, rows))
        for scale in SCALES:
            found = unit(direction(name, rows * scale))
            assert_close(found, reference, f"{case}, times {scale}", atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", [name for name in RULES if name not in (*DRAWN, *LEAPING)])
def test_permuted_tasks_have_permuted_directions(name: str) -> None:
    """The direction: where gradients nearly depend on one another, their weights may trade."""
    for case, jacobian in jacobians((2, 3, 10), random_jacobian, agreeing_jacobian):
        rows = jacobian.float()
        expected = unit(direction(name, rows))
        found = unit(direction(name, rows[permutation(len(rows))]))
        assert_close(found, expected, case, atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", NOT_OPPOSING)
def test_no_task_is_opposed(name: str) -> None:
    """G is rounded by ε ||g||², so that lengths below √(K ε) ||g||, 1.5e-3 of it, are lost."""
    for kind, jacobian in all_awkward_jacobians(1, 2, 3, 5, 10, 20, 40):
        for scale in (1e-12, 1.0, 1e12):
            rows = (jacobian * scale).float()
            assert least_progress(name, rows) > -5e-3, f"{kind}, times {scale}"
