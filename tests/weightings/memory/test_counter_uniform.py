"""Numbers that depend on a seed and a place only, and look random."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from lightning_mtl.weightings.memory.counter_uniform import BITS, uniform

CPU = torch.device("cpu")
MANY = 200_000
SEEDS = (0, 1, 2, 3, 2**31 - 1, 2**40, -1)


def drawn(seed: int, count: int = MANY) -> Tensor:
    return uniform(seed, 0, count, CPU).double()


def literal(seed: int, place: int) -> float:
    """The same with Python's integers, by the book."""
    mask = 2**64 - 1

    def mix(z: int) -> int:
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
        return z ^ (z >> 31)

    state = mix(seed & mask) + place * 0x9E3779B97F4A7C15 & mask
    return ((mix(state) >> 64 - BITS) + 0.5) / 2**BITS


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("start", [0, 2**31 - 2, 2**33])
def test_it_is_splitmix(seed: int, start: int) -> None:
    found = uniform(seed, start, 5, CPU).tolist()
    assert found == [literal(seed, start + place) for place in range(5)]


def test_a_piece_is_that_of_the_whole() -> None:
    whole = uniform(5, 0, 1000, CPU)
    assert torch.equal(torch.cat([uniform(5, s, 250, CPU) for s in range(0, 1000, 250)]), whole)
    assert torch.equal(uniform(5, 77, 3, CPU), whole[77:80])


@pytest.mark.parametrize("seed", SEEDS)
def test_moments_are_those_of_the_uniform_distribution(seed: int) -> None:
    numbers = drawn(seed)
    assert float(numbers.min()) > 0 and float(numbers.max()) < 1
    for power in (1, 2, 3, 4):
        deviation = (1 / (2 * power + 1) - 1 / (power + 1) ** 2) ** 0.5
        found = float(numbers.pow(power).mean())
        assert abs(found - 1 / (power + 1)) < 5 * deviation / MANY**0.5


@pytest.mark.parametrize("seed", SEEDS)
def test_bins_are_filled_alike(seed: int) -> None:
    counts = torch.histc(drawn(seed), 1000, 0, 1)
    chi_squared = float(((counts - MANY / 1000) ** 2 / (MANY / 1000)).sum())
    assert abs(chi_squared - 999) < 5 * (2 * 999) ** 0.5


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("distance", [1, 2, 3, 64, 4096])
def test_neighbouring_places_are_independent(seed: int, distance: int) -> None:
    numbers = drawn(seed)
    first, second = numbers[:-distance], numbers[distance:]
    assert abs(correlation(first, second)) < 5 / MANY**0.5
    pairs = torch.histogramdd(torch.stack([first, second], 1), bins=[20, 20], range=[0, 1, 0, 1])
    expected = len(first) / 400
    assert abs(float(((pairs.hist - expected) ** 2 / expected).sum()) - 399) < 5 * 798**0.5


def test_neighbouring_seeds_are_independent() -> None:
    numbers = [drawn(seed) for seed in range(20)]
    for first, second in pairwise(numbers):
        assert abs(correlation(first, second)) < 5 / MANY**0.5
        for distance in (1, 2):
            assert abs(correlation(first[distance:], second[:-distance])) < 5 / MANY**0.5
    # At one and the same place too, over the seeds.
    over_seeds = torch.stack([drawn(seed, 50) for seed in range(4000)])
    assert float((over_seeds.mean(0) - 0.5).abs().max()) < 5 * (1 / 12 / 4000) ** 0.5
    lagged = [correlation(over_seeds[1:, k], over_seeds[:-1, k]) for k in range(50)]
    assert max(map(abs, lagged)) < 5 / 4000**0.5
