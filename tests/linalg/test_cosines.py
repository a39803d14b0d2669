import torch

from lightning_mtl.linalg import cosines_and_norms, impartial_weights, solve_units
from tests.support.jacobians import SCALES, awkward_jacobians, random_jacobian


def test_cosines_and_norms_make_up_the_gramian_at_every_scale() -> None:
    for scale in SCALES:
        rows = random_jacobian(5, 8) * scale
        cosines, norms = cosines_and_norms(rows @ rows.T)
        torch.testing.assert_close(norms, rows.norm(dim=1))
        torch.testing.assert_close(torch.outer(norms, norms) * cosines, rows @ rows.T)
        assert torch.equal(cosines.diagonal(), torch.ones(5, dtype=torch.float64))


def test_zero_rows_have_no_cosine() -> None:
    cosines, norms = cosines_and_norms(torch.diag(torch.tensor([0.0, 4.0])))
    assert cosines.tolist() == [[0, 0], [0, 1]]
    assert norms.tolist() == [1, 2]


def test_solving_units_is_the_pseudo_inverse() -> None:
    for _, rows in awkward_jacobians(6):
        right = torch.arange(6, dtype=torch.float64)
        solution, norms = solve_units(rows @ rows.T, right)
        unit = rows / norms[:, None]
        torch.testing.assert_close(solution, torch.linalg.pinv(unit @ unit.T, rtol=1e-13) @ right)


def test_impartial_weights_project_equally_and_sum_to_one() -> None:
    for scale in SCALES:
        rows = random_jacobian(5, 9, seed=1) * scale
        weights = impartial_weights(rows @ rows.T)
        projections = rows @ (weights @ rows) / rows.norm(dim=1)
        torch.testing.assert_close(projections, projections[0].expand(5))
        assert projections[0] > 0
        torch.testing.assert_close(weights.sum().abs(), torch.tensor(1.0, dtype=torch.float64))
