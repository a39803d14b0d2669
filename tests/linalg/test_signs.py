"""Random signs."""

import pytest
import torch

from lightning_mtl.linalg.signs import random_signs


def drawn(count: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return random_signs(count, torch.empty((), dtype=dtype), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("count", [0, 1, 8, 13, 1001])
def test_there_are_as_many_as_asked_for_and_they_follow_from_the_generator(count: int) -> None:
    signs = drawn(count, dtype=torch.bfloat16)
    assert signs.shape == (count,) and signs.dtype == torch.bfloat16
    assert set(signs.tolist()) <= {-1.0, 1.0}
    assert torch.equal(signs, drawn(count, dtype=torch.bfloat16))


def test_they_are_balanced_and_independent_of_one_another() -> None:
    signs = drawn(16 * 40_000).view(-1, 16)
    second = signs.T @ signs / len(signs)
    # Entries of a row come from two bytes; each mean has a standard deviation of 1/200.
    assert signs.mean(0).abs().max() < 0.025
    assert (second - torch.eye(16)).abs().max() < 0.025


def test_another_seed_gives_other_signs() -> None:
    agreement = (drawn(10_000, seed=0) == drawn(10_000, seed=1)).float().mean()
    assert 0.47 < agreement < 0.53
