import pytest
import torch

from lightning_mtl.callbacks import ConFIG
from tests.support.jacobians import awkward_jacobians, random_jacobian


@pytest.mark.peer("T15")
@pytest.mark.parametrize("tasks", [1, 2, 3, 10])
def test_the_gramian_gives_what_the_whole_jacobian_does(tasks: int) -> None:
    """T15: TorchJD inverts the K x P matrix of unit gradients."""
    for name, rows in awkward_jacobians(tasks):
        if "oppose" in name:
            continue
        units = rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-300)
        best = torch.linalg.pinv(units, rtol=1e-7) @ torch.ones(tasks, dtype=torch.float64)
        weights = ConFIG().weights(torch.ones(tasks), rows @ rows.T)
        if best.norm() < 1e-7:  # as many rows point one way as the other
            assert not weights.any(), name
            continue
        expected = (rows @ best).sum() * best / best.norm() ** 2
        assert (weights @ rows - expected).norm() < 1e-8 * expected.norm(), name


def test_all_cosines_are_equal() -> None:
    rows = random_jacobian(5, 12, seed=4)
    direction = ConFIG().weights(torch.ones(5), rows @ rows.T) @ rows
    cosines = rows @ direction / rows.norm(dim=1) / direction.norm()
    torch.testing.assert_close(cosines, cosines[0].expand(5))
    torch.testing.assert_close(direction.norm(), (rows @ direction / direction.norm()).sum())


def test_opposed_gradients_have_no_direction() -> None:
    rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert ConFIG().weights(torch.ones(2), rows @ rows.T).tolist() == [0, 0]
