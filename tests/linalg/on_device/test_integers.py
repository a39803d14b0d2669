import pytest
import torch

from lightning_mtl.linalg import on_device


@pytest.mark.parametrize(
    "numbers",
    [[0], [0, 0], [1, 0, 1], list(range(8)) * 8, [2**62, 1], list(range(100))],
    ids=["zero", "zeros", "bits", "orders of eight tasks", "a word each", "many"],
)
def test_integers_are_unpacked_as_they_were(numbers: list[int]) -> None:
    assert on_device.integers(numbers, torch.device("cpu")).tolist() == numbers
