"""Which runs there are: trials of every setting on one seed, then the chosen ones on others."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from helmholtz.methods import FIXED, GRID, LEARNING_RATES
from helmholtz.runs import Result, Run

TRIAL_SEED = 100
"""The seed of the trials, which is none of those that are compared."""


def trials(methods: Sequence[str], seconds: float) -> list[Run]:
    """A run of each method with each learning rate and, if its weights are fixed, each weight."""
    return [
        Run(method, lr, TRIAL_SEED, seconds, residual)
        for method in methods
        for residual in (GRID if method == FIXED else (None,))
        for lr in LEARNING_RATES
    ]


def chosen(tried: Iterable[Result]) -> dict[str, Run]:
    """The trial of each method with the smallest error at the held-out points."""
    best: dict[str, Result] = {}
    for result in tried:
        method = result.run.method
        if method not in best or result.held_out_error < best[method].held_out_error:
            best[method] = result
    return {method: result.run for method, result in best.items()}


def repeated(runs: Iterable[Run], seeds: int) -> list[Run]:
    """Each run with the seeds 0, 1, ... in place of its own."""
    return [replace(run, seed=seed) for run in runs for seed in range(seeds)]
