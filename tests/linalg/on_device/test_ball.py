import pytest
import torch

from lightning_mtl.linalg import max_min_in_ball, on_device
from tests.linalg.on_device.cases import assert_same_weights, cases


@pytest.mark.parametrize("share", [0.0, 0.4, 2.0])
def test_directions_are_those_of_the_host(share: float) -> None:
    """In a ball of no size, in a usual one, and in one that zero is inside of."""
    for case, rows in cases(1, 2, 3, 8):
        center = torch.full_like(rows[:, 0], 1 / len(rows))
        radius = share * (center @ rows).norm()
        gramian = rows @ rows.T
        expected = max_min_in_ball(gramian, center, radius)
        found = on_device.max_min_in_ball(gramian, center, radius)
        assert (found >= 0).all(), case
        # The level is a root: half of the digits of what is below it.
        assert_same_weights(center + found, center + expected, rows, case, along=1e-7)
        if not share:
            assert not found.any(), case
