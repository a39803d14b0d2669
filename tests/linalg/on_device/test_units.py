import torch

from lightning_mtl.linalg import on_device, solve_units
from lightning_mtl.linalg.on_device.units import range_of
from tests.linalg.on_device.cases import assert_same_weights, cases


def test_solutions_are_those_of_the_host() -> None:
    for case, rows in cases(1, 2, 3, 8):
        right = torch.linspace(1, 2, len(rows)).double()
        expected, norms = solve_units(rows @ rows.T, right)
        found, sizes = on_device.solve_units(rows @ rows.T, right)
        assert torch.equal(norms, sizes), case
        # Of least squares, the solution has the condition of C, 1e4 or so in these rows.
        assert_same_weights(found, expected, rows / sizes[:, None], case)


def test_the_range_has_the_eigenvectors_above_the_threshold() -> None:
    vectors = torch.linalg.qr(
        torch.randn(4, 4, generator=torch.Generator().manual_seed(0)).double()
    )
    values = torch.tensor([1e-16, 0.7e-10, 1.4e-10, 1.0]).double()
    matrix = vectors.Q * values @ vectors.Q.T
    _, onto = range_of(matrix, 1e-10)
    expected = vectors.Q[:, 2:] @ vectors.Q[:, 2:].T
    # Two eigenvalues that differ by 1e-10 have eigenvectors that a rounding turns by 1e-6.
    torch.testing.assert_close(onto, expected, atol=1e-5, rtol=0)
