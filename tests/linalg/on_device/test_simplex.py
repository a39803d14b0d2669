import torch

from lightning_mtl.linalg import nonzero_min_norm, on_device, simplex_min_norm
from tests.linalg.on_device.cases import assert_same_weights, cases


def test_shortest_vectors_are_those_of_the_host() -> None:
    for case, rows in cases(1, 2, 3, 8):
        gramian = rows @ rows.T
        for divisors in (None, torch.logspace(0, 1, len(rows)).double()):
            expected = nonzero_min_norm(gramian, divisors)
            found = on_device.nonzero_min_norm(gramian, divisors)
            hull = rows if divisors is None else rows / divisors[:, None]
            assert_same_weights(found, expected, hull, case)


def test_zero_rows_are_in_the_hull_unless_they_are_left_out() -> None:
    rows = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 0.0], [0.0, 1.0]]).double()
    for solve in (simplex_min_norm, on_device.simplex_min_norm):
        assert solve(rows @ rows.T).tolist() == [0.5, 0.0, 0.5, 0.0]
    for solve in (nonzero_min_norm, on_device.nonzero_min_norm):
        expected = torch.tensor([0.0, 0.2, 0.0, 0.8]).double()
        torch.testing.assert_close(solve(rows @ rows.T), expected)


def test_without_zero_rows_both_are_the_same() -> None:
    for case, rows in cases(3):
        if (rows != 0).any(1).all():
            gramian = rows @ rows.T
            one, other = (f(gramian) for f in (simplex_min_norm, on_device.simplex_min_norm))
            assert_same_weights(other, one, rows, case)


def test_without_any_gradient_the_weights_are_equal() -> None:
    for solve in (nonzero_min_norm, on_device.nonzero_min_norm, on_device.simplex_min_norm):
        torch.testing.assert_close(
            solve(torch.zeros(3, 3).double()), torch.full((3,), 1 / 3).double()
        )
