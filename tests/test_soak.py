"""Thousands of steps with tasks that come and go, killed and resumed: as if undisturbed."""

import signal
from functools import cache
from typing import Any

import pytest
import torch

from tests.support.ranks import results_of
from tests.support.soak import KILOBYTES, ON_TWO_RANKS, ONE_OF_EACH_FAMILY, PERIOD

STEPS = {1: 2000, 2: 500}
"""By the number of ranks."""

RUNS = [(name, 1) for name in ONE_OF_EACH_FAMILY] + [(name, 2) for name in ON_TWO_RANKS]
every_run = pytest.mark.parametrize(("name", "ranks"), RUNS)

pytestmark = pytest.mark.slow


@cache
def runs(ranks: int) -> dict[str, dict[str, Any]]:
    """Every rule's undisturbed run and the one that was killed, of all ranks."""
    return results_of("soak", str(ranks), str(STEPS[ranks]), ranks=1, timeout=3600)


@every_run
def test_a_run_that_is_killed_and_resumed_equals_the_undisturbed_one(name: str, ranks: int) -> None:
    """To the bit, with losses of exactly zero and a single task in the first batch of each life."""
    run = runs(ranks)[name]
    kills = STEPS[ranks] // PERIOD
    assert run["ends"] == [{0}, *[{-signal.SIGKILL}] * kills, {0}]
    first = run["undisturbed"][0]["parameters"]
    assert len(run["undisturbed"]) == len(run["killed"]) == ranks
    for rank in [*run["undisturbed"], *run["killed"]]:
        assert float((rank["parameters"] - first).abs().max()) == 0.0
    assert torch.isfinite(first).all()


@every_run
def test_memory_is_constant(name: str, ranks: int) -> None:
    for rank in runs(ranks)[name]["undisturbed"]:
        assert len(rank["kilobytes"]) == 2
        assert rank["kilobytes"][1] - rank["kilobytes"][0] <= KILOBYTES
        assert rank["tensors"][1] <= rank["tensors"][0]
