"""Statistics of results: intervals, ranks, differences beyond the noise and Pareto fronts."""

from lightning_mtl.statistics.differences import Difference, compare_pairs, compare_with
from lightning_mtl.statistics.intervals import Interval, Intervals, mean_interval
from lightning_mtl.statistics.jackknife import jackknife_interval
from lightning_mtl.statistics.pareto import pareto_front
from lightning_mtl.statistics.ranks import (
    RankTest,
    block_ranks,
    critical_difference,
    indistinguishable,
    mean_ranks,
    rank_test,
    task_ranks,
)
from lightning_mtl.statistics.ratios import effective_count, ratio_interval

__all__ = [
    "Difference",
    "Interval",
    "Intervals",
    "RankTest",
    "block_ranks",
    "compare_pairs",
    "compare_with",
    "critical_difference",
    "effective_count",
    "indistinguishable",
    "jackknife_interval",
    "mean_interval",
    "mean_ranks",
    "pareto_front",
    "rank_test",
    "ratio_interval",
    "task_ranks",
]
