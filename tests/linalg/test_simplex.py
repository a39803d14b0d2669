import pytest
import torch

from lightning_mtl.linalg import project_to_simplex, simplex_min_norm
from tests.support.jacobians import SCALES, awkward_jacobians, random_jacobian


def kkt_violation(jacobian: torch.Tensor, weights: torch.Tensor) -> float:
    """How far some row lies below the supporting plane, relative to the norms."""
    norms = jacobian.norm(dim=1)
    pull = jacobian @ (weights @ jacobian)
    slack = (pull - weights @ pull) / (norms * (weights @ norms)).clamp(min=1e-300)
    return max(float((-slack).max()), float((slack * (weights > 0)).max()))


@pytest.mark.peer("L7", "T4")
@pytest.mark.parametrize("tasks", [1, 2, 3, 5, 10, 20, 40])
@pytest.mark.parametrize("scale", SCALES)
def test_min_norm_meets_its_optimality_conditions_for_every_rank_and_scale(
    tasks: int, scale: float
) -> None:
    """T4: an exact solver, where Frank-Wolfe leaves up to 317 times the norm."""
    for name, jacobian in awkward_jacobians(tasks):
        rows = jacobian * scale
        weights = simplex_min_norm(rows @ rows.T)
        assert weights.min() >= 0 and abs(float(weights.sum()) - 1) < 1e-12, name
        if not (rows == 0).all(1).any():
            assert kkt_violation(rows, weights) < 1e-11, name


def test_min_norm_of_two_rows_has_its_closed_form() -> None:
    first, second = random_jacobian(2, 5, seed=3)
    share = ((second - first) @ second / (second - first).norm() ** 2).clamp(0, 1)
    rows = torch.stack([first, second])
    weights = simplex_min_norm(rows @ rows.T)
    torch.testing.assert_close(weights, torch.stack([share, 1 - share]))


@pytest.mark.peer("L7")
def test_min_norm_reaches_a_vertex_exactly() -> None:
    """L7: where one gradient is ten times the other, nothing of the longer one is taken."""
    rows = torch.tensor([[1.0, 0.0], [10.0, 0.0]])
    assert simplex_min_norm(rows @ rows.T).tolist() == [1.0, 0.0]


def test_zero_rows_share_the_weight() -> None:
    rows = torch.tensor([[0.0, 0.0], [1.0, 2.0], [0.0, 0.0]])
    assert simplex_min_norm(rows @ rows.T).tolist() == [0.5, 0.0, 0.5]


@pytest.mark.parametrize("rank", [1, 2, 5, 9, 10])
def test_min_norm_of_float32_gradients_is_as_exact_as_they_are(rank: int) -> None:
    """Their Gramian is indefinite by rounding, which no solver may go round in circles about."""
    rows = random_jacobian(10, 16, seed=rank, rank=rank).float()
    weights = simplex_min_norm(rows @ rows.T)
    assert kkt_violation(rows.double(), weights.double()) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12, 1e30])
def test_projection_to_the_simplex_sums_to_one_at_any_scale(dtype, scale: float) -> None:
    point = scale * torch.tensor([3.0, -10.0, 0.1, 2.9], dtype=dtype)
    nearest = project_to_simplex(point)
    assert nearest.min() >= 0
    torch.testing.assert_close(nearest.sum(), torch.ones((), dtype=dtype))


@pytest.mark.parametrize("tasks", [1, 2, 7, 40])
def test_projection_to_the_simplex_is_the_nearest_point(tasks: int) -> None:
    generator = torch.Generator().manual_seed(tasks)
    for spread in (0.1, 1.0, 100.0):
        point = spread * torch.randn(tasks, generator=generator, dtype=torch.float64)
        nearest = project_to_simplex(point)
        assert nearest.min() >= 0
        torch.testing.assert_close(nearest.sum(), torch.tensor(1.0, dtype=torch.float64))
        # The residual is constant where the weight is positive, and smaller elsewhere.
        residual = point - nearest
        assert ((residual.max() - residual) * nearest).abs().max() < 1e-12 * max(1, spread)


@pytest.mark.peer("L14")
def test_a_point_of_the_simplex_is_its_own_projection() -> None:
    """L14: LibMTL's projection fails on exactly such a point with numpy 2."""
    point = torch.tensor([0.25, 0.5, 0.25, 0.0])
    assert torch.equal(project_to_simplex(point), point)
