import torch

from lightning_mtl.linalg.on_device.supports import Supports
from tests.support.jacobians import random_jacobian


def test_every_support_has_the_solution_of_its_own_rows() -> None:
    rows = torch.nn.functional.normalize(random_jacobian(3, 7))
    matrix = rows @ rows.T
    right = torch.tensor([[1.0, -2.0, 3.0]]).double()
    t, sides = Supports(matrix, matrix).solve(right)
    assert t.shape == (1, 8, 3)
    for code in range(8):
        inside = [k for k in range(3) if code >> k & 1]
        expected = torch.zeros(3).double()
        if inside:
            expected[inside] = torch.linalg.solve(matrix[inside][:, inside], right[0, inside])
        torch.testing.assert_close(t[0, code], expected, atol=1e-8, rtol=0)
        torch.testing.assert_close(sides[0, code].square().sum(), expected @ right[0])


def test_equal_rows_share_alike() -> None:
    ones = torch.ones(4, 4).double()
    found = Supports(ones, ones).minimise(torch.tensor([[1.0] * 4, [-1.0] * 4]).double())
    expected = torch.tensor([[0.25] * 4, [0.0] * 4]).double()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
