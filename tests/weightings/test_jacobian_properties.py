"""What every rule on the Jacobian itself promises, over Jacobians of known rank and scale."""

import itertools
from collections.abc import Callable, Iterable, Iterator

import pytest
import torch
from torch import Tensor

from lightning_mtl.callbacks import DBMTL, ExcessMTL, GradDrop, JacobianWeighting, MoCo
from tests.support.jacobians import (
    SCALES,
    agreeing_jacobian,
    all_awkward_jacobians,
    assert_close,
    permutation,
    random_jacobian,
    spread_jacobian,
)
from tests.support.presence import set_present

RULES: dict[str, Callable[[], JacobianWeighting]] = {
    "DBMTL": DBMTL,
    "DBMTL(beta=0)": lambda: DBMTL(beta=0.0),
    "ExcessMTL": ExcessMTL,
    "GradDrop": GradDrop,
    "GradDrop(leak)": lambda: GradDrop(leak=0.3),
    "MoCo": MoCo,
}
every_rule = pytest.mark.parametrize("name", RULES)
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4}


def losses_of(rows: Tensor) -> Tensor:
    """Unequal losses that move with the rows, and not with their scale."""
    sizes = rows.double().abs().amax(1)
    return (0.1 + sizes / sizes.max().clamp(min=1e-300)).to(rows)


def direction(rule: JacobianWeighting, *matrices: Tensor) -> Tensor:
    """That of the last of several steps."""
    found = [rule.combine(losses_of(rows), rows.clone()) for rows in matrices]
    return found[-1]


def steps(make: Callable[..., Tensor], tasks: int, count: int = 4) -> list[Tensor]:
    return [make(tasks, tasks + 20, seed=tasks + index) for index in range(count)]


def sequences(
    makes: Iterable[Callable[..., Tensor]], numbers: Iterable[int]
) -> Iterator[tuple[str, list[Tensor]]]:
    """Several steps for every kind, number of tasks and precision, after words that name them."""
    for make, tasks, dtype in itertools.product(makes, numbers, TOLERANCES):
        rows = [matrix.to(dtype) for matrix in steps(make, tasks)]
        yield f"{make.__name__}, {tasks} tasks in {dtype}", rows


@pytest.mark.peer("T3", "T11")
@every_rule
def test_directions_are_finite_whatever_the_gradients(name: str) -> None:
    """Zero rows, duplicates, one task; and once more with what was remembered of it."""
    for kind, jacobian in all_awkward_jacobians(1, 2, 3, 4, 7, 10, 16, 25, 40):
        for dtype, scale in itertools.product(TOLERANCES, SCALES):
            case = f"{kind}, times {scale} in {dtype}"
            rule = RULES[name]()
            rows = (jacobian * scale).to(dtype)
            for _ in range(3):
                found = direction(rule, rows)
                assert found.shape == rows[0].shape and found.dtype == dtype, case
                assert torch.isfinite(found).all(), case


def test_a_task_that_falls_silent_leaves_the_others_finite() -> None:
    for build in RULES.values():
        rule, rows = build(), random_jacobian(3, 9)
        silent = rows * torch.tensor([1.0, 0.0, 1.0]).double()[:, None]
        for given in (silent, rows, silent, rows * 0, silent):
            assert torch.isfinite(direction(rule, given)).all()


@pytest.mark.peer("L6", "T1", "T2")
@pytest.mark.parametrize("name", [name for name in RULES if name != "MoCo"])
def test_the_direction_scales_with_the_gradients(name: str) -> None:
    """MoCo's step size has a unit."""
    makes = (random_jacobian, agreeing_jacobian, spread_jacobian)
    for kind, given in sequences(makes, (1, 2, 3, 10, 40)):
        reference = direction(RULES[name](), *given)
        limit = TOLERANCES[reference.dtype] * reference.norm()
        for scale in SCALES:
            found = direction(RULES[name](), *(rows * scale for rows in given)) / scale
            assert (found - reference).norm() < limit, f"{kind}, times {scale}"


FAR = (1e-36, 1e-20, 1e20, 1e36)
"""Scales whose squares float32 does not hold."""


@pytest.mark.parametrize("name", [name for name in RULES if name != "MoCo"])
def test_the_formulas_keep_their_scale_in_single_precision(name: str) -> None:
    for tasks in (1, 3, 10):
        given = [rows / rows.abs().max() for rows in steps(spread_jacobian, tasks)]
        given = [rows.float() for rows in given]
        reference = direction(RULES[name](), *given)
        for scale in FAR:
            found = direction(RULES[name](), *(rows * scale for rows in given)) / scale
            case = f"{tasks} tasks, times {scale}"
            assert (found - reference).norm() < 1e-3 * reference.norm(), case


def test_moco_keeps_its_scale_in_single_precision() -> None:
    given = [rows.float() for rows in steps(random_jacobian, 3)]
    reference = direction(MoCo(gamma=0.01), *given)
    for scale in (1e-34, 1e-20, 1e20, 1e34):
        rule = MoCo(gamma=0.01 / scale**2)
        found = direction(rule, *(rows * scale for rows in given)) / scale
        torch.testing.assert_close(found, reference, rtol=1e-4, atol=1e-5)


def test_moco_follows_the_shortest_gradient_where_its_step_is_far_too_long() -> None:
    """Gradients of 1e20 make steps of 1e39: all weight goes to the least one, and none is NaN."""
    rows = 1e20 * torch.diag(torch.tensor([1.0, 2.0, 3.0]))
    torch.testing.assert_close(MoCo().combine(torch.ones(3), rows), rows[0])


def test_dbmtl_keeps_its_scale_from_a_loss_of_any_size() -> None:
    """Its direction does not know the scales of losses, only the largest ∇ log L."""
    rows = random_jacobian(3, 9).float()
    reference = DBMTL(beta=0.0).combine(torch.ones(3), rows)
    for scale in (1e-38, 1e-20, 1e20, 1e36):
        scales = torch.tensor([scale, 1.0, 1.0])
        found = DBMTL(beta=0.0).combine(scales, rows * scales[:, None])
        torch.testing.assert_close(found, reference, rtol=1e-3, atol=1e-4)
    unequal = DBMTL(beta=0.0).combine(torch.tensor([1e30, 1e-20, 1.0]), rows * 1e-20)
    units = rows / rows.norm(dim=1, keepdim=True)
    torch.testing.assert_close(unequal, rows[1].norm() * units.sum(0), rtol=1e-4, atol=1e-4)


def test_the_step_size_of_moco_has_the_unit_of_an_inverse_square() -> None:
    given = steps(random_jacobian, 3)
    reference = direction(MoCo(gamma=0.01), *given)
    for scale in SCALES:
        rule = MoCo(gamma=0.01 / scale**2)
        torch.testing.assert_close(
            direction(rule, *(rows * scale for rows in given)) / scale, reference
        )


@every_rule
def test_permuted_tasks_have_the_same_direction(name: str) -> None:
    for case, given in sequences((random_jacobian, agreeing_jacobian), (2, 3, 10, 40)):
        order = permutation(len(given[0]))
        expected = direction(RULES[name](), *given)
        found = direction(RULES[name](), *(rows[order] for rows in given))
        assert (found - expected).norm() < TOLERANCES[found.dtype] * expected.norm(), case


def test_permuted_tasks_have_permuted_weights() -> None:
    order, given = torch.tensor([2, 0, 1]), steps(random_jacobian, 3)
    plain, permuted = ExcessMTL(), ExcessMTL()
    direction(plain, *given), direction(permuted, *(rows[order] for rows in given))
    torch.testing.assert_close(permuted.applied, plain.applied[order])
    assert plain.applied.min() >= 0
    assert float(plain.applied.sum()) == pytest.approx(1)


@every_rule
def test_an_absent_task_equals_a_removed_one(name: str) -> None:
    """Present now and then, it has no part in the steps that lack it."""
    given = steps(random_jacobian, 3, 6)
    with_absent, without = RULES[name](), RULES[name]()
    with_absent.tasks = ("a", "b", "c")
    for rows in given:
        set_present(with_absent, [0, 2])
        found = direction(with_absent, rows[[0, 2]])
        torch.testing.assert_close(found, direction(without, rows[[0, 2]]))
    set_present(with_absent, [0, 1, 2])
    assert torch.isfinite(direction(with_absent, given[0])).all()


@pytest.mark.peer("L5", "L13", "T8", "T9")
@every_rule
def test_a_saved_state_continues_to_the_bit(name: str) -> None:
    """What is saved stays as it is, though rows are changed in place."""
    given = steps(random_jacobian, 5, 8)
    whole, resumed, late = RULES[name](), RULES[name](), RULES[name]()
    direction(whole, *given[:4])
    saved = whole.state_dict()
    resumed.load_state_dict(saved)
    expected = [direction(whole, rows) for rows in given[4:]]
    assert all(
        torch.equal(direction(resumed, rows), found)
        for rows, found in zip(given[4:], expected, strict=True)
    )
    late.load_state_dict(saved)
    assert torch.equal(direction(late, given[4]), expected[0])


@every_rule
def test_the_global_random_numbers_are_left_alone(name: str) -> None:
    state = torch.get_rng_state()
    direction(RULES[name](), *steps(random_jacobian, 3))
    assert torch.equal(torch.get_rng_state(), state)


@every_rule
def test_the_input_is_not_changed(name: str) -> None:
    rule, rows, losses = RULES[name](), random_jacobian(4, 9), torch.rand(4).double()
    before, losses_before = rows.clone(), losses.clone()
    for _ in range(2):
        rule.combine(losses, rows)
    assert torch.equal(rows, before) and torch.equal(losses, losses_before)


@every_rule
def test_columns_that_are_worked_on_in_turn_give_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = steps(random_jacobian, 3)
    expected = direction(RULES[name](), *given)
    for size in (1, 7, 64):
        monkeypatch.setattr("lightning_mtl.engine.jacobian.CACHE", size)
        found = direction(RULES[name](), *given)
        if "GradDrop" in name:  # it draws as it goes: other numbers, of one sign per parameter
            found, expected = direction(GradDrop(leak=1.0), *given), given[-1].sum(0)
        assert_close(found, expected, f"{size} columns at a time")
