"""Ranks of the methods over seeds, and how far apart they have to be to differ."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lightning_mtl.answers.records import Results, RunRecord
from lightning_mtl.answers.scores import faults
from lightning_mtl.statistics import rank_test, task_ranks


@dataclass(frozen=True)
class Ranking:
    """Mean ranks over seeds; 1 is the best.

    Args:
        ranks: of the ranked methods.
        seeds: that they share: the blocks of the test.
        critical_difference: of mean ranks, by Nemenyi's test.
        p_value: of the hypothesis that all methods are equal, by Friedman's test.
        groups: the largest sets of methods that the test does not tell apart.
    """

    ranks: Mapping[str, float]
    seeds: tuple[int, ...]
    critical_difference: float
    p_value: float
    groups: tuple[tuple[str, ...], ...]


def ranking(results: Results, level: float) -> Ranking | None:
    """Rank the methods within each seed by their mean rank over the tasks.

    The block is the seed, since the tasks of one run are not independent. No baselines are needed.
    A run with a missing or non-finite metric has the last rank of its seed in every task. A method
    with fewer than half of the seeds of others is not ranked, so that a sweep can be looked at
    before it has finished.

    Returns:
        `None` if fewer than two methods share a seed.
    """
    runs = {(run.method, run.seed): run for run in results.runs}
    counts = {method: len(results.runs_of(method)) for method in results.methods}
    methods = [method for method, count in counts.items() if 2 * count >= max(counts.values())]
    seeds = [
        seed
        for seed in sorted({run.seed for run in results.runs})
        if all((method, seed) in runs for method in methods)
    ]
    if len(methods) < 2 or not seeds:
        return None
    blocks = [_costs([runs[method, seed] for method in methods], results) for seed in seeds]
    lower = [False] * len(results.measures)
    test = rank_test(task_ranks(np.stack(blocks), lower), higher_is_better=False, level=level)
    return Ranking(
        ranks=dict(zip(methods, test.ranks.tolist(), strict=True)),
        seeds=tuple(seeds),
        critical_difference=test.critical_difference,
        p_value=test.p_value,
        groups=tuple(tuple(methods[index] for index in group) for group in test.groups()),
    )


def _costs(runs: list[RunRecord], results: Results) -> Float[np.ndarray, "tasks methods"]:
    """The metrics of one seed, of which lower is better; those of faulty runs are the worst."""
    faulty = np.array([bool(faults(run, results.measures)) for run in runs])
    costs = np.zeros((len(results.measures), len(runs)))
    for row, measure in zip(costs, results.measures, strict=True):
        sign = -1 if measure.higher_is_better else 1
        values = [sign * run.metrics.get(measure.column, np.nan) for run in runs]
        row[~faulty] = np.array(values)[~faulty]
        row[faulty] = row[~faulty].max(initial=0) + 1
    return costs
