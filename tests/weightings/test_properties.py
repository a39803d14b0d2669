"""What every Gramian rule promises, over Jacobians of known rank and scale."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lightning_mtl.callbacks import MGDA, AlignedMTL, CAGrad, FairGrad, GramianWeighting, SDMGrad
from lightning_mtl.catalogue import weightings
from tests.support.jacobians import (
    SCALES,
    agreeing_jacobian,
    all_awkward_jacobians,
    assert_close,
    jacobians,
    permutation,
    random_jacobian,
)
from tests.support.presence import set_present

# All that need the Gramian alone; those that look at the rows too have properties of their own.
DEFAULTS = {
    kind.__name__: kind
    for kind in weightings()
    if issubclass(kind, GramianWeighting) and not kind.needs_rows
}
RULES: dict[str, Callable[[], GramianWeighting]] = DEFAULTS | {
    "AlignedMTL(median)": lambda: AlignedMTL(scale="median"),
    "AlignedMTL(rmse)": lambda: AlignedMTL(scale="rmse"),
    "CAGrad(linear)": lambda: CAGrad(c=2.0, rescale="linear"),
    "FairGrad(2)": lambda: FairGrad(alpha=2.0),
    "MGDA(l2)": lambda: MGDA(normalize="l2"),
    "MGDA(loss)": lambda: MGDA(normalize="loss"),
    "MGDA(loss+)": lambda: MGDA(normalize="loss+"),
    "SDMGrad(lr)": lambda: SDMGrad(lr=0.1),
}
every_rule = pytest.mark.parametrize("name", RULES)
SCALES_OF_DTYPES = [
    *((torch.float64, scale) for scale in SCALES),
    *itertools.product((torch.float32, torch.bfloat16), (1e-3, 1.0, 1e5)),
]
DRAWN = ("GradVac", "PCGrad")  # the order of the tasks is drawn
NOT_OPPOSING = ("MGDA", "UPGrad", "DualProj", "NashMTL", "FairGrad", "FairGrad(2)")


def losses_of(rows: Tensor) -> Tensor:
    """Unequal losses that move with the rows, and not with their scale."""
    sizes = rows.double().abs().amax(1)
    return (0.1 + sizes / sizes.max().clamp(min=1e-300)).to(rows)


def step(rule: GramianWeighting, rows: Tensor) -> Tensor:
    return rule.weights(losses_of(rows), rows @ rows.T)


def solve(name: str, rows: Tensor) -> Tensor:
    return step(RULES[name](), rows)


def direction(name: str, rows: Tensor) -> Tensor:
    return solve(name, rows) @ rows


def unit(vector: Tensor) -> Tensor:
    return vector / vector.norm()


@pytest.mark.peer("T3", "T11")
@every_rule
def test_weights_are_finite_whatever_the_gradients(name: str) -> None:
    """Zero rows, duplicates, low precision."""
    for kind, jacobian in all_awkward_jacobians(1, 2, 3, 4, 7, 10, 16, 25, 40):
        for dtype, scale in SCALES_OF_DTYPES:
            case = f"{kind}, times {scale} in {dtype}"
            weights = solve(name, (jacobian * scale).to(dtype))
            assert weights.shape == jacobian.shape[:1] and weights.dtype == dtype, case
            assert torch.isfinite(weights).all(), case


@pytest.mark.slow
@every_rule
def test_weights_are_finite_for_every_number_of_tasks_and_every_rank(name: str) -> None:
    for tasks in range(1, 41):
        for rank in range(1, tasks + 1):
            rows = random_jacobian(tasks, tasks + 5, seed=rank, rank=rank)
            assert torch.isfinite(solve(name, rows)).all(), f"{tasks} tasks, rank {rank}"


FREE_OF_SCALE = [name for name in RULES if name not in ("MoDo", "IMTL")]


@pytest.mark.peer("L6", "T1", "T2")
@pytest.mark.parametrize("name", FREE_OF_SCALE)
def test_the_direction_does_not_depend_on_the_scale(name: str) -> None:
    """MoDo's step size has a unit, and IMTL balances losses beside gradients."""
    for kind, rows in jacobians((1, 2, 3, 10, 40)):
        reference = unit(direction(name, rows))
        for scale in SCALES:
            found = unit(direction(name, rows * scale))
            assert_close(found, reference, f"{kind}, times {scale}", atol=1e-6, rtol=0)


@pytest.mark.peer("O17")
@pytest.mark.parametrize("name", [name for name in RULES if name not in DRAWN])
def test_permuted_tasks_have_permuted_weights(name: str) -> None:
    for case, rows in jacobians((2, 3, 10, 40), random_jacobian, agreeing_jacobian):
        order = permutation(len(rows))
        expected = solve(name, rows)[order]
        assert_close(solve(name, rows[order]), expected, case, atol=1e-8, rtol=1e-6)


def least_progress(name: str, rows: Tensor) -> float:
    """Of any task along the direction, relative to the longest weighted gradient."""
    weights = solve(name, rows).double()
    rows = rows.double()
    norms = rows.norm(dim=1).clamp(min=1e-300)
    reference = (weights.abs() * norms).max().clamp(min=1e-300)
    return float((rows @ (weights @ rows) / norms / reference).min())


@pytest.mark.parametrize("name", NOT_OPPOSING)
def test_no_task_is_opposed(name: str) -> None:
    for kind, jacobian in all_awkward_jacobians(1, 2, 3, 5, 10, 20, 40):
        for scale in (1e-12, 1.0, 1e12):
            assert least_progress(name, jacobian * scale) > -1e-7, f"{kind}, times {scale}"


@pytest.mark.parametrize(
    "name", ["MGDA", "MGDA(l2)", "MGDA(loss)", "MGDA(loss+)", "MoDo", "SDMGrad"]
)
def test_weights_lie_on_the_simplex(name: str) -> None:
    for case, rows in all_awkward_jacobians(1, 2, 3, 10, 40):
        weights = solve(name, rows)
        assert weights.min() >= 0, case
        assert abs(float(weights.sum()) - 1) < 1e-9, case


def test_upgrad_is_linear_in_the_scale_of_each_row() -> None:
    for tasks in (2, 3, 10):
        torch.manual_seed(0)
        rows = random_jacobian(tasks, 30, seed=tasks)
        first, second = torch.rand(2, tasks, 1, dtype=torch.float64) + 0.1
        total = direction("UPGrad", (first + 2 * second) * rows)
        parts = direction("UPGrad", first * rows) + 2 * direction("UPGrad", second * rows)
        assert_close(total, parts, f"{tasks} tasks")


@pytest.mark.parametrize("name", ["IMTLG", "ConFIG", "NashMTL", "FairGrad", "MGDA(l2)"])
def test_the_scale_of_a_single_loss_does_not_turn_the_direction(name: str) -> None:
    rows = random_jacobian(4, 9, seed=2)
    scaled = rows * torch.tensor([1e-3, 1.0, 7.0, 1e3])[:, None].double()
    if name == "MGDA(l2)":  # its weights do not depend on the scale; the direction does
        torch.testing.assert_close(solve(name, rows), solve(name, scaled))
        return
    one = unit(direction(name, rows))
    other = unit(direction(name, scaled))
    torch.testing.assert_close(one, other)


@pytest.mark.peer("L9")
@pytest.mark.parametrize("name", [name for name in RULES if name[:4] not in ("MGDA", "CAGr")])
def test_equal_gradients_have_equal_weights(name: str) -> None:
    """MGDA and CAGrad may split the weight in any way: the direction is the same."""
    rows = torch.ones(3, 5, dtype=torch.float64)
    weights = solve(name, rows)
    torch.testing.assert_close(weights, weights[0].expand(3), atol=1e-6, rtol=1e-6)
    assert weights.sum() > 0


@pytest.mark.peer("T3")
@every_rule
def test_an_absent_task_equals_a_removed_one(name: str) -> None:
    """What is not there does not count, in the weights or in the state."""
    rows = random_jacobian(3, 9, seed=5)
    with_absent, without = RULES[name](), RULES[name]()
    with_absent.tasks = ("a", "b", "c")
    for index in range(4):
        part = rows[[0, 2]] * (1 + index)
        set_present(with_absent, [0, 2])
        torch.testing.assert_close(step(with_absent, part), step(without, part))


@pytest.mark.peer("L5", "L13", "T8", "T9")
@every_rule
def test_a_saved_state_continues_to_the_bit(name: str) -> None:
    """Averages, counters, moments and random orders."""
    matrices = [random_jacobian(5, 9, seed) for seed in range(8)]
    whole, resumed = RULES[name](), RULES[name]()
    for rows in matrices[:4]:
        step(whole, rows)
    resumed.load_state_dict(whole.state_dict())
    for rows in matrices[4:]:
        expected = step(whole, rows)
        assert torch.equal(step(resumed, rows), expected)


@pytest.mark.peer("L5", "T17")
@every_rule
def test_the_global_random_numbers_are_left_alone(name: str) -> None:
    """The order of the tasks is alike on every rank, whatever a rank has drawn."""
    rows = random_jacobian(6, 9)
    state = torch.get_rng_state()
    first = solve(name, rows)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert torch.equal(solve(name, rows), first)


@pytest.mark.peer("L1")
@every_rule
def test_weights_are_not_those_of_equal_weighting(name: str) -> None:
    """No silent fallback."""
    rows = random_jacobian(4, 9, seed=1)
    rows[0] -= 2 * rows[1:].sum(0)
    weights = solve(name, rows)
    assert (weights / weights.mean() - 1).abs().max() > (1e-6 if name == "MoDo" else 1e-3)


@every_rule
def test_the_input_is_not_changed(name: str) -> None:
    rows = random_jacobian(4, 9)
    gramian, losses = rows @ rows.T, torch.ones(4).double()
    before = gramian.clone()
    RULES[name]().weights(losses, gramian)
    assert torch.equal(gramian, before) and bool((losses == 1).all())
