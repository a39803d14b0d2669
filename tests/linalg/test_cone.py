import pytest
import torch
from scipy.optimize import nnls

from lightning_mtl.linalg import dual_cone
from tests.support.jacobians import SCALES, awkward_jacobians, random_jacobian, spread_jacobian


def targets(tasks: int) -> torch.Tensor:
    eye = torch.eye(tasks, dtype=torch.float64)
    return torch.cat([eye, eye.mean(0, keepdim=True)])


@pytest.mark.peer("T1")
@pytest.mark.parametrize("tasks", [1, 2, 3, 5, 10, 20, 40])
@pytest.mark.parametrize("scale", SCALES)
def test_dual_cone_meets_its_optimality_conditions_for_every_rank_and_scale(
    tasks: int, scale: float
) -> None:
    """T1: the answer for s J is s times the answer for J, at any scale."""
    for name, jacobian in awkward_jacobians(tasks):
        rows = jacobian * scale
        wanted = targets(tasks)
        solution = dual_cone(rows @ rows.T, wanted)
        # In units of each row's norm, and of the length of what is projected.
        norms = rows.norm(dim=1)
        length = (wanted * norms).norm(dim=1, keepdim=True).clamp(min=1e-300)
        added = (solution - wanted) * norms / length
        slack = torch.nan_to_num(solution @ rows @ rows.T / norms) / length
        assert added.min() >= -1e-14, name
        # A Gramian in float64 cannot tell an angle of 1e-9 from none.
        finest = 1e-7 if name == "nearly opposed row" else 1e-11
        assert slack.min() > -finest, name
        assert (added * slack).abs().max() < 10 * finest, name


@pytest.mark.parametrize("make", [random_jacobian, spread_jacobian])
@pytest.mark.parametrize("tasks", [2, 3, 8])
def test_dual_cone_projects_as_non_negative_least_squares_does(make, tasks: int) -> None:
    rows = make(tasks, 12, seed=tasks)
    wanted = targets(tasks)
    projected = dual_cone(rows @ rows.T, wanted) @ rows
    for target, found in zip(wanted, projected, strict=True):
        vector = target @ rows
        unit = rows / rows.norm(dim=1, keepdim=True)
        share, _ = nnls(unit.T.numpy(), -vector.numpy())
        expected = vector + torch.from_numpy(share) @ unit
        assert (found - expected).norm() < 1e-9 * vector.norm()


def test_rows_without_conflict_stay_as_they_are() -> None:
    rows = torch.eye(3, 5)
    assert torch.equal(dual_cone(rows @ rows.T, torch.eye(3)), torch.eye(3))


def test_two_conflicting_rows_have_their_closed_form() -> None:
    rows = torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]], dtype=torch.float64)
    gramian = rows @ rows.T
    solution = dual_cone(gramian, torch.eye(2, dtype=torch.float64))
    # Each gives up its component along the other.
    expected = [[1, -gramian[0, 1] / gramian[1, 1]], [-gramian[0, 1] / gramian[0, 0], 1]]
    torch.testing.assert_close(solution, torch.tensor(expected, dtype=torch.float64))
