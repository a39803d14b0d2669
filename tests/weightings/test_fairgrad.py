from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from torch import Tensor

from lightning_mtl.callbacks import FairGrad
from tests.support.jacobians import SCALES, random_jacobian, spread_jacobian


@pytest.mark.peer("T6")
@pytest.mark.parametrize("make", [random_jacobian, spread_jacobian])
@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("tasks", [1, 2, 3, 10, 40])
def test_progress_is_divided_as_alpha_says(make, alpha: float, tasks: int) -> None:
    """T6: at gradient scales where a least-squares solver from a fixed start does not converge."""
    for scale in SCALES:
        rows = make(tasks, 2 * tasks + 5, seed=tasks) * scale
        weights = FairGrad(alpha=alpha).weights(torch.ones(tasks), rows @ rows.T)
        progress = rows @ (weights @ rows)
        torch.testing.assert_close(progress, weights ** (-1 / alpha), rtol=1e-6, atol=0)


def test_large_alpha_evens_out_the_progress() -> None:
    rows = random_jacobian(4, 9, seed=2)
    ratios = []
    for alpha in (0.5, 1.0, 2.0, 10.0):
        progress = rows @ (FairGrad(alpha=alpha).weights(torch.ones(4), rows @ rows.T) @ rows)
        ratios.append(float(progress.max() / progress.min()))
    assert ratios == sorted(ratios, reverse=True)


@pytest.mark.peer("L24")
def test_heads_are_weighted_only_where_asked_for() -> None:
    """L24: LibMTL weights the heads, the authors' code does not."""
    assert not FairGrad().weight_heads
    assert FairGrad(weight_heads=True).weight_heads


def test_alpha_must_be_positive() -> None:
    with pytest.raises(ValueError, match=r"should be positive. Found.*Use"):
        FairGrad(alpha=0.0)


def test_steps_without_a_solution_are_counted() -> None:
    """Peers L1: no fallback without a word."""
    weighting, losses = FairGrad(), torch.ones(2)
    apart, opposed = torch.eye(2).double(), torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).double()
    for gramian in (apart, opposed, apart, opposed):
        weighting.weights(losses, gramian)
    assert weighting.logs()["lifted_steps"] == 2


def pivrg(rows: Tensor, scores: Sequence[float]) -> Tensor:
    """The authors' code, with their general solver."""
    gramian, scores = (rows @ rows.T).numpy(), np.array(scores)
    temperature = max((scores.max() - scores.min()) / np.log(2), 10)
    powers = np.exp((scores - scores.max()) / temperature)
    shares = len(scores) * powers / powers.sum()

    def objective(x: np.ndarray) -> np.ndarray:
        return gramian @ x - np.power(shares / x, 0.5)

    start = np.ones(len(scores)) / len(scores)
    found = least_squares(objective, start, bounds=(0, np.inf), ftol=1e-15, xtol=1e-15, gtol=1e-15)
    return torch.from_numpy(found.x)


def with_losses(rule: FairGrad, losses: Sequence[float], rows: Tensor) -> Tensor:
    """The weights after an epoch with these mean losses."""
    mean = torch.tensor(losses, dtype=torch.float64)
    for factor in (0.5, 1.5):
        rule.weights(factor * mean, rows @ rows.T)
    rule.end_epoch()
    return rule.weights(torch.ones_like(mean), rows @ rows.T)


@pytest.mark.parametrize("losses", [[1.0, 1.1, 0.95], [1.0, 5.0, 2.0]], ids=["near", "far"])
def test_priorities_are_those_of_the_authors(losses: list[float]) -> None:
    rows = random_jacobian(3, 9, seed=1)
    rows = rows / rows.norm()
    rule = FairGrad(2.0, priorities={"0": 1.0, "1": 2.0, "2": 0.5})
    scores = [100 * (loss / alone - 1) for loss, alone in zip(losses, (1, 2, 0.5), strict=True)]
    found = with_losses(rule, losses, rows)
    torch.testing.assert_close(found, pivrg(rows, scores), rtol=1e-6, atol=0)


def test_priorities_are_one_in_the_first_epoch_and_for_tasks_that_are_not_named() -> None:
    rows = random_jacobian(3, 9, seed=1)
    equal = FairGrad(2.0).weights(torch.ones(3), rows @ rows.T)
    rule = FairGrad(2.0, priorities={"0": 1.0, "2": 1.0})
    assert torch.equal(rule.weights(torch.ones(3).double(), rows @ rows.T), equal)
    assert rule._shares(torch.ones(3)).tolist() == [1, 1, 1]
    with_losses(rule, [1.0, 1.0, 100.0], rows)
    shares = rule._shares(torch.ones(3).double())
    torch.testing.assert_close(shares, torch.tensor([2 / 3, 1, 4 / 3]).double())


def test_a_task_that_misses_an_epoch_keeps_its_priority() -> None:
    rule, rows = FairGrad(2.0, priorities={"a": 1.0, "b": 1.0}), random_jacobian(2, 9, seed=1)
    rule.tasks = ("a", "b")
    for present, losses in (([0, 1], [1.0, 3.0]), ([0], [0.5])):
        with rule.memory.of(present):
            rule.weights(torch.tensor(losses), rows[present] @ rows[present].T)
        rule.end_epoch()
    assert rule.memory.tensors["last"].tolist() == [0.5, 3.0]


def test_priorities_survive_a_saved_state() -> None:
    rows, priorities = random_jacobian(2, 9, seed=1), {"0": 1.0, "1": 1.0}
    whole, resumed = FairGrad(priorities=priorities), FairGrad(priorities=priorities)
    with_losses(whole, [1.0, 3.0], rows)
    resumed.load_state_dict(whole.state_dict())
    assert torch.equal(with_losses(resumed, [2.0, 1.0], rows), with_losses(whole, [2.0, 1.0], rows))


def test_single_task_losses_are_positive_and_those_of_known_tasks() -> None:
    with pytest.raises(ValueError, match=r"should be positive.*Found.*Leave out"):
        FairGrad(priorities={"a": 0.0})
    rule = FairGrad(priorities={"c": 1.0})
    rule.tasks = ("a", "b")
    with pytest.raises(ValueError, match=r"should name tasks among.*Found.*Correct"):
        rule.weights(torch.ones(2), torch.eye(2))
