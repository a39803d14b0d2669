import torch

from lightning_mtl.linalg import cosines_and_norms, on_device
from tests.linalg.on_device.cases import cases


def test_cosines_and_norms_are_those_of_the_host() -> None:
    for case, rows in cases(1, 3):
        for found, expected in zip(
            on_device.cosines_and_norms(rows @ rows.T),
            cosines_and_norms(rows @ rows.T),
            strict=True,
        ):
            assert torch.equal(found, expected), case
