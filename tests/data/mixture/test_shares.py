"""Shares of a batch: the samples sum to its size, and are as near to the weights as can be."""

import math
from fractions import Fraction

import pytest
import torch

from lightning_mtl.data import temperature_weights
from lightning_mtl.data.mixture.shares import batch_counts, checked_weights, floored


def literal_counts(weights: list[float], batch_size: int) -> list[int]:
    """Largest remainders in exact arithmetic, one sample handed out at a time."""
    exact = [Fraction(weight) for weight in weights]
    quotas = [batch_size * weight / sum(exact) for weight in exact]
    counts = [math.floor(quota) for quota in quotas]
    while sum(counts) < batch_size:
        lacking = [quota - count for quota, count in zip(quotas, counts, strict=True)]
        counts[lacking.index(max(lacking))] += 1
    return counts


def drawn_weights(seed: int) -> list[float]:
    generator = torch.Generator().manual_seed(seed)
    size = int(torch.randint(1, 7, (), generator=generator))
    return torch.rand(size, generator=generator, dtype=torch.float64).pow(4).tolist()


@pytest.mark.parametrize("batch_size", [1, 8, 37])
def test_counts_are_those_of_largest_remainders(batch_size: int) -> None:
    for seed in range(40):
        weights = drawn_weights(seed)
        assert batch_counts(weights, batch_size) == literal_counts(weights, batch_size)


@pytest.mark.parametrize("least", [1, 3])
def test_every_task_has_the_fewest_samples_and_the_sum_stays(least: int) -> None:
    for seed in range(40):
        weights = drawn_weights(seed)
        counts = batch_counts(weights, 24, least)
        assert sum(counts) == 24
        assert min(counts) >= least
        order = sorted(range(len(weights)), key=weights.__getitem__)
        assert [counts[task] for task in order] == sorted(counts)


def test_a_task_of_weight_zero_has_no_samples() -> None:
    assert batch_counts([0.0, 2.0, 1.0], 6, least=1) == [0, 4, 2]


def test_tasks_that_are_lifted_may_press_others_below_the_least() -> None:
    # Quotas of 6.2, 2 and 1.8: lifting the last one leaves 8, of which the second would get 1.95.
    assert batch_counts([0.62, 0.2, 0.18], 10, least=2) == [6, 2, 2]
    assert floored([0.62, 0.2, 0.18], 10, 2) == [6, 2, 2]


def test_temperature_leads_from_the_sizes_to_equal_weights() -> None:
    sizes = {"one": 800, "two": 100, "three": 100}
    assert temperature_weights(sizes) == pytest.approx({"one": 0.8, "two": 0.1, "three": 0.1})
    roots = {task: size ** (1 / 3) for task, size in sizes.items()}
    expected = {task: root / sum(roots.values()) for task, root in roots.items()}
    assert temperature_weights(sizes, 3) == pytest.approx(expected)
    assert temperature_weights(sizes, math.inf) == pytest.approx(dict.fromkeys(sizes, 1 / 3))


@pytest.mark.parametrize(
    ("sizes", "temperature", "message"),
    [
        ({"one": 3}, 0.5, r"temperature=\)` should be at least 1. Found 0.5"),
        ({"one": 0}, 1.0, r'sizes\["one"\]=\)` should be at least 1. Found 0'),
    ],
    ids=["temperature", "size"],
)
def test_sizes_and_temperatures_that_make_no_sense_are_errors(
    sizes: dict[str, int], temperature: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        temperature_weights(sizes, temperature)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"one": 1.0}, "should name the tasks"),
        ({"one": 1.0, "two": 1.0, "three": 1.0}, "should name the tasks"),
        ({"one": 1.0, "two": -0.1}, "should be finite, none below 0"),
        ({"one": 1.0, "two": math.nan}, "should be finite"),
        ({"one": 1.0, "two": math.inf}, "should be finite"),
        ({"one": 0.0, "two": 0.0}, "one above"),
    ],
    ids=["missing", "unknown", "negative", "nan", "infinite", "nothing"],
)
def test_weights_that_are_no_shares_are_errors(given: dict[str, float], message: str) -> None:
    with pytest.raises(
        ValueError, match=f"weights of `Owner` .*{message}|weights of `Owner` {message}"
    ):
        checked_weights("Owner", ("one", "two"), given)
