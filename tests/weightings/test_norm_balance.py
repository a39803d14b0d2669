"""NormBalance against the code bases whose rule it is, and its properties."""

import pytest
import torch

from lightning_mtl.callbacks import NormBalance
from tests.support.jacobians import SCALES, random_jacobian, spread_jacobian
from tests.support.presence import set_present


def weights_of(rule: NormBalance, rows: torch.Tensor) -> torch.Tensor:
    return rule.weights(torch.ones(len(rows)), rows @ rows.T)


@pytest.mark.parametrize("make", [random_jacobian, spread_jacobian])
@pytest.mark.parametrize("tasks", [1, 2, 5, 40])
def test_all_weighted_gradients_have_the_root_mean_square_norm(make, tasks: int) -> None:
    for scale in SCALES:
        rows = make(tasks, 9, seed=tasks) * scale
        norms = rows.norm(dim=1)
        balanced = weights_of(NormBalance(), rows) * norms
        torch.testing.assert_close(balanced, norms.square().mean().sqrt().expand(tasks))


def ntkmtl(rows: torch.Tensor) -> torch.Tensor:
    """The authors' `ntkgrad`: (trace / G_ii) ** .5."""
    gramian = rows @ rows.T
    return torch.pow(torch.trace(gramian) / gramian.diagonal(), 0.5)


def jaxpi(rows: torch.Tensor) -> torch.Tensor:
    """Its scheme `grad_norm`, without the constant in the denominator."""
    norms = rows.norm(dim=1)
    return norms.mean() / norms


def encodec(rows: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """Its balancer, without averages: g / ||g|| times the share of the total."""
    return shares / shares.sum() / rows.norm(dim=1)


def test_the_factors_to_the_code_bases_are_those_of_the_card() -> None:
    rows = random_jacobian(5, 9, seed=1)
    norms, found = rows.norm(dim=1), weights_of(NormBalance(), rows)
    root_mean_square = norms.square().mean().sqrt()
    torch.testing.assert_close(ntkmtl(rows), 5**0.5 * found)
    torch.testing.assert_close(jaxpi(rows), norms.mean() / root_mean_square * found)
    shares = {"a": 3.0, "b": 0.5}
    rule = NormBalance(shares=shares)
    rule.tasks = ("a", "b", "c", "d", "e")
    given = torch.tensor([3.0, 0.5, 1.0, 1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(
        encodec(rows, given), weights_of(rule, rows) / root_mean_square / given.sum()
    )


@pytest.mark.parametrize("exponent", [0.0, 0.25, 0.5, 1.0])
def test_a_loss_times_a_number_has_that_number_to_the_power_less(exponent: float) -> None:
    rows = random_jacobian(3, 9, seed=2)
    factors = torch.tensor([1e-3, 1.0, 1e3]).double()
    plain, scaled = (
        weights_of(NormBalance(exponent), each) for each in (rows, rows * factors[:, None])
    )
    ratio = scaled * factors ** (2 * exponent) / plain
    torch.testing.assert_close(ratio, ratio[0].expand(3))
    if exponent == 0:
        assert plain.tolist() == [1, 1, 1]


def test_averages_are_corrected_for_their_start() -> None:
    rule, average = NormBalance(decay=0.9), torch.zeros(3, dtype=torch.float64)
    for step in range(1, 30):
        rows = random_jacobian(3, 9, seed=step)
        average = 0.9 * average + 0.1 * rows.square().sum(1)
        squares = average / (1 - 0.9**step)
        expected = (squares.mean() / squares).sqrt()
        torch.testing.assert_close(weights_of(rule, rows), expected)
        if step == 1:
            torch.testing.assert_close(expected, weights_of(NormBalance(), rows))


def test_each_task_has_an_average_of_its_own_steps() -> None:
    rule, rows = NormBalance(decay=0.9), random_jacobian(3, 9)
    rule.tasks = ("a", "b", "c")
    for present in ([0, 1, 2], [0, 2], [0, 2], [1]):
        set_present(rule, present)
        weights_of(rule, rows[present])
    assert rule.memory.tensors["steps"].tolist() == [3, 2, 3]
    set_present(rule, [0, 1, 2])
    torch.testing.assert_close(weights_of(rule, rows), weights_of(NormBalance(), rows))


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_a_zero_gradient_is_left_out(decay: float) -> None:
    rows = random_jacobian(3, 9)
    rows[1] = 0
    found = weights_of(NormBalance(decay=decay), rows)
    torch.testing.assert_close(found[[0, 2]], weights_of(NormBalance(decay=decay), rows[[0, 2]]))
    assert found[1] == 1
    assert weights_of(NormBalance(decay=decay), 0 * rows).tolist() == [1, 1, 1]


def test_norms_over_sixty_decades_are_balanced() -> None:
    squares = torch.tensor([1e-60, 1.0, 1e60], dtype=torch.float64)
    found = NormBalance().weights(torch.ones(3), torch.diag(squares))
    torch.testing.assert_close(found * squares.sqrt(), torch.full_like(found, 1e30 / 3**0.5))


@pytest.mark.parametrize("where", ["shared", "last_layer", "features"])
def test_it_may_measure_anywhere_at_the_price_of_the_place(where: str) -> None:
    prices = {
        "shared": "F + H + K B",
        "last_layer": "F + H + B + K B_last",
        "features": "F + H + B",
    }
    assert NormBalance(gradients=where).price == prices[where]


@pytest.mark.parametrize(
    "arguments",
    [{"exponent": -1.0}, {"decay": 1.0}, {"shares": {"a": 0.0}}],
    ids=lambda a: next(iter(a)),
)
def test_arguments_out_of_range_are_refused(arguments: dict) -> None:
    with pytest.raises(ValueError, match=r"should .*Found.*Use"):
        NormBalance(**arguments)


def test_shares_of_unknown_tasks_are_refused() -> None:
    rule = NormBalance(shares={"depth": 2.0})
    rule.tasks = ("a", "b")
    with pytest.raises(ValueError, match=r"should name tasks among.*Found.*Correct"):
        weights_of(rule, random_jacobian(2, 5))
