"""Shares of the tasks in a batch: where they come from, and how many samples they make."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lightning_mtl.checks import check_number

__all__ = ["batch_counts", "checked_weights", "floored", "temperature_weights"]


def temperature_weights(sizes: Mapping[str, int], temperature: float = 1.0) -> dict[str, float]:
    """Weights w_k proportional to n_k^(1/T), with n_k the number of samples of task k.

    T = 1 mixes in proportion to the data, T = ∞ evenly; in between, tasks with little data are seen
    more often than their share of it. Arivazhagan et al., "Massively Multilingual Neural Machine
    Translation in the Wild: Findings and Challenges", arXiv 1907.05019 (2019), section 4.1.

    Args:
        sizes: n_k by the names of the tasks.
        temperature: T, at least 1; `math.inf` for equal weights.

    Raises:
        ValueError: if a number is too small.

    >>> temperature_weights({"depth": 900, "edges": 100})
    {'depth': 0.9, 'edges': 0.1}
    >>> temperature_weights({"depth": 900, "edges": 100}, temperature=2)
    {'depth': 0.75, 'edges': 0.25}
    """
    if temperature != math.inf:
        check_number("temperature_weights", "temperature", temperature, 1)
    for task, size in sizes.items():
        check_number("temperature_weights", f'sizes["{task}"]', size, 1)
    powers = {task: size ** (1 / temperature) for task, size in sizes.items()}
    total = math.fsum(powers.values())
    return {task: power / total for task, power in powers.items()}


def batch_counts(weights: Sequence[float], batch_size: int, least: int = 0) -> list[int]:
    """How many of the samples of a batch are those of each task; together `batch_size`.

    b_k = b w_k, rounded by largest remainders: down first, and the samples that are left over go to
    the tasks that lost most by it, the earlier one of equal ones first. Tasks that would get fewer
    than `least` samples get so many, and the others share what remains in proportion.

    Args:
        weights: w_k, at least 0, of any positive sum.
        batch_size: b.
        least: fewest samples of a task whose weight is positive.

    >>> batch_counts([0.5, 0.3, 0.2], 8)
    [4, 2, 2]
    >>> batch_counts([0.98, 0.01, 0.01], 8, least=1)
    [6, 1, 1]
    """
    quotas = floored(weights, batch_size, least)
    counts = [math.floor(quota) for quota in quotas]
    lost = sorted(range(len(quotas)), key=lambda task: (counts[task] - quotas[task], task))
    for task in lost[: batch_size - sum(counts)]:
        counts[task] += 1
    return counts


def floored(weights: Sequence[float], total: float, least: float) -> list[float]:
    """Numbers in proportion to weights, in sum `total`, of which none is below `least`.

    Those that would be smaller are `least`, and the others share what remains in proportion.

    Args:
        weights: at least 0, of any positive sum.
        total: at least `least` for each positive weight.
        least: the smallest number for a positive weight; for a weight of 0 it is 0.

    >>> floored([0.9, 0.06, 0.04], 1.0, 0.1)
    [0.8, 0.1, 0.1]
    """
    numbers = [0.0] * len(weights)
    free = {task: weight for task, weight in enumerate(weights) if weight > 0}
    left = total
    while True:
        mass = math.fsum(free.values())
        shares = {task: left * (weight / mass) for task, weight in free.items()}
        low = [task for task, share in shares.items() if share < least]
        if not low:
            break
        for task in low:
            numbers[task] = least
            del free[task]
        left -= least * len(low)
    for task, share in shares.items():
        numbers[task] = share
    return numbers


def checked_weights(owner: str, tasks: Sequence[str], given: Mapping[str, Any]) -> list[float]:
    """The weights of the tasks in their order, scaled to sum to 1.

    Args:
        owner: who is given the weights, for the message.
        tasks: the names of all tasks.
        given: one weight for each of them.

    Raises:
        ValueError: if names are missing or unknown, or a weight is negative or not finite, or all
            of them are 0.
    """
    if set(given) != set(tasks):
        raise ValueError(
            f"The weights of `{owner}` should name the tasks {list(tasks)}. Found {list(given)}."
            " Give each task one weight; 0 leaves a task out."
        )
    weights = [float(given[task]) for task in tasks]
    total = math.fsum(weights)
    if not all(0 <= weight < math.inf for weight in weights) or not 0 < total < math.inf:
        raise ValueError(
            f"The weights of `{owner}` should be finite, none below 0 and one above. Found"
            f" {dict(given)}. Give the share of each task; they need not sum to 1."
        )
    return [weight / total for weight in weights]
