"""Ranks of methods over several blocks: Friedman's test and Nemenyi's critical difference.

A block is what all methods were run on under equal conditions, and the tests take the blocks as
independent of each other. The tasks of one run are not: they share the parameters, the batches and
the noise of the seed. Blocks of (seed, task) therefore find differences that are none. The
recommended block is one seed: each method has one score in it, which is its Delta_MTL, or its mean
rank over the tasks (`task_ranks`). Several data sets give blocks as well, one for each.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from lightning_mtl.statistics.arguments import check_level, finite_array


class RankTest(NamedTuple):
    """The result of `rank_test`.

    Attributes:
        ranks: the mean rank of each method; 1 is the best.
        p_value: of the hypothesis that all methods are equal.
        critical_difference: of mean ranks, by Nemenyi's test.
        blocks: how many there were.
        level: one less the share of false alarms among equal methods.
    """

    ranks: Float[np.ndarray, " methods"]
    p_value: float
    critical_difference: float
    blocks: int
    level: float

    @property
    def is_significant(self) -> bool:
        """Whether the methods are not all equal: the p-value is at most one less the level."""
        return self.p_value <= 1 - self.level

    def groups(self) -> list[list[int]]:
        """Maximal groups of methods that the test cannot tell apart, see `indistinguishable`.

        Nemenyi's is a post-hoc test: without significance all methods are one group.
        """
        return indistinguishable(
            self.ranks, self.critical_difference if self.is_significant else math.inf
        )


def block_ranks(
    scores: Float[np.ndarray, "blocks methods"], higher_is_better: bool | Sequence[bool]
) -> Float[np.ndarray, "blocks methods"]:
    """The rank of each method within its block: 1 for the best; equal scores share the mean rank.

    Args:
        scores: of each method in each block.
        higher_is_better: for all blocks, or one for each.
    """
    scores = finite_array("block_ranks", "scores", scores, axes=2)
    higher = np.asarray(higher_is_better, dtype=bool)
    if higher.ndim and higher.shape != scores.shape[:1]:
        raise ValueError(
            f"`block_ranks(higher_is_better=)` should be one for all, or one for each of"
            f" {len(scores)} blocks. Found {higher.size}."
        )
    return stats.rankdata(np.where(higher[..., None], -scores, scores), axis=1)


def mean_ranks(
    scores: Float[np.ndarray, "blocks methods"], higher_is_better: bool | Sequence[bool]
) -> Float[np.ndarray, " methods"]:
    """The rank of each method, averaged over blocks; arguments as of `block_ranks`.

    >>> mean_ranks(np.array([[0.9, 0.8, 0.7], [0.6, 0.6, 0.5]]), higher_is_better=True)
    array([1.25, 1.75, 3.  ])
    """
    return block_ranks(scores, higher_is_better).mean(0)


def task_ranks(
    scores: Float[np.ndarray, "seeds tasks methods"], higher_is_better: Sequence[bool]
) -> Float[np.ndarray, "seeds methods"]:
    """The mean rank over tasks of each method under each seed, by which `rank_test` may rank.

    Lower is better: call `rank_test(task_ranks(...), higher_is_better=False)`.

    Args:
        scores: the primary metric of each seed, task and method.
        higher_is_better: for each task.
    """
    scores = finite_array("task_ranks", "scores", scores, axes=3)
    return np.stack([mean_ranks(tasks, higher_is_better) for tasks in scores])


def friedman_p_value(ranks: Float[np.ndarray, "blocks methods"]) -> float:
    """The p-value of the hypothesis that all methods are equal, by Friedman's test.

    χ² = (k - 1) Σ_j (R_j - n(k + 1)/2)² / Σ_ij (r_ij - (k + 1)/2)² with k - 1 degrees of freedom,
    where R_j is the sum of ranks of method j over n blocks: Friedman, "The use of ranks to avoid
    the assumption of normality implicit in the analysis of variance", JASA 1937, corrected for
    ties. For two methods this is the normal approximation of the sign test, which is too small for
    few blocks; the sign test itself is taken then.

    Args:
        ranks: see `block_ranks`.
    """
    methods = ranks.shape[1]
    deviations = ranks - (methods + 1) / 2
    spread = float((deviations**2).sum())
    if not spread:
        return 1.0
    if methods == 2:
        wins, losses = int((deviations[:, 0] < 0).sum()), int((deviations[:, 0] > 0).sum())
        return float(stats.binomtest(wins, wins + losses).pvalue)
    statistic = (methods - 1) * float((deviations.sum(0) ** 2).sum()) / spread
    return float(stats.chi2.sf(statistic, methods - 1))


def critical_difference(methods: int, blocks: int, level: float = 0.95) -> float:
    """Nemenyi's critical difference: two mean ranks at least so far apart differ significantly.

    CD = q √(k(k + 1) / (6n)) for k methods in n blocks, where q is the quantile of the Studentized
    range with infinite degrees of freedom, divided by √2: Demšar, "Statistical Comparisons of
    Classifiers over Multiple Data Sets", JMLR 2006, section 3.2.2.

    >>> round(critical_difference(methods=5, blocks=30), 3)
    1.114
    """
    check_level("critical_difference", level)
    if methods < 2 or blocks < 1:
        raise ValueError(
            "`critical_difference` should be given at least two methods and one block. Found"
            f" {methods} methods and {blocks} blocks."
        )
    quantile = float(stats.studentized_range.ppf(level, methods, math.inf)) / math.sqrt(2)
    return quantile * math.sqrt(methods * (methods + 1) / (6 * blocks))


def rank_test(
    scores: Float[np.ndarray, "blocks methods"],
    higher_is_better: bool | Sequence[bool],
    level: float = 0.95,
) -> RankTest:
    """Friedman's test of all methods, and the critical difference for pairs of them.

    Few blocks find little: of three methods or more, none can differ with two blocks at 95 %.

    Args:
        scores: of each method in each block; see the top of the file for what a block should be.
        higher_is_better: for all blocks, or one for each.
        level: one less the share of false alarms among equal methods.
    """
    ranks = block_ranks(scores, higher_is_better)
    blocks, methods = ranks.shape
    difference = critical_difference(methods, blocks, level)
    return RankTest(ranks.mean(0), friedman_p_value(ranks), difference, blocks, level)


def indistinguishable(
    ranks: Float[np.ndarray, " methods"], critical_difference: float
) -> list[list[int]]:
    """The bars of a critical-difference diagram: maximal groups of methods that do not differ.

    Each group lists the indices of at least two methods, from the best mean rank to the worst, all
    of which lie less than the critical difference apart. Groups may overlap; a method that differs
    from all others is in none.

    >>> indistinguishable(np.array([1.0, 3.9, 1.8, 2.5]), critical_difference=1.6)
    [[0, 2, 3], [3, 1]]
    """
    order = np.argsort(ranks, kind="stable")
    ends = np.searchsorted(ranks[order] - critical_difference, ranks[order], side="left")
    groups, last = [], 0
    for start, end in enumerate(ends.tolist()):
        if end - start > 1 and end > last:
            groups.append(order[start:end].tolist())
            last = end
    return groups
