import torch

from lightning_mtl.linalg import dual_cone, on_device
from tests.linalg.on_device.cases import assert_same_weights, cases


def test_projections_are_those_of_the_host() -> None:
    for case, rows in cases(1, 2, 3, 8):
        gramian, targets = rows @ rows.T, torch.eye(len(rows), dtype=rows.dtype)
        targets = torch.cat([targets, targets.mean(0, keepdim=True)])
        expected = dual_cone(gramian, targets)
        found = on_device.dual_cone(gramian, targets)
        assert (found >= targets).all(), case
        for one, other in zip(found, expected, strict=True):
            assert_same_weights(one, other, rows, case)
