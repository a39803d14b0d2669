"""One number for all tasks: the mean improvement over single-task baselines."""

import math
from collections.abc import Mapping

from torch import Tensor

__all__ = ["check_baselines", "multi_task_performance"]


def multi_task_performance(
    results: Mapping[str, float | Tensor],
    baselines: Mapping[str, float],
    higher_is_better: Mapping[str, bool],
) -> float | Tensor:
    """Mean improvement over the baselines in percent; positive is better.

    With the K tasks' results `M_m` and baselines `M_b`, and `l_i = 1` where lower is better:

        delta_MTL = 100 / K sum_i (-1)^l_i (M_m,i - M_b,i) / M_b,i

    Vandenhende et al., "Multi-Task Learning for Dense Prediction Tasks: A Survey" (TPAMI 2021),
    equation 10, with one metric per task and single-task networks on the same backbone as
    baselines. Other papers average over all metrics of all tasks, some with the opposite sign.

    Args:
        results: the primary metric of each task.
        baselines: the same metric of the single-task network, positive.
        higher_is_better: the direction of each metric.

    Returns:
        A float, or a tensor if a result is one.

    Raises:
        ValueError: if the tasks differ, there is none, or a baseline is not positive and finite.

    Example:
        >>> delta = multi_task_performance(
        ...     results={"segmentation": 45.0, "depth": 0.584},
        ...     baselines={"segmentation": 43.9, "depth": 0.585},
        ...     higher_is_better={"segmentation": True, "depth": False},
        ... )
        >>> round(delta, 2)
        1.34
    """
    if not results or not results.keys() == baselines.keys() == higher_is_better.keys():
        raise ValueError(
            "`multi_task_performance` should be given the same tasks, at least one, in all"
            f" arguments. Found results of {sorted(results)}, baselines of {sorted(baselines)},"
            f" directions of {sorted(higher_is_better)}."
        )
    check_baselines("multi_task_performance", baselines)
    improvements = [
        (1 if higher_is_better[task] else -1) * (result - baselines[task]) / baselines[task]
        for task, result in results.items()
    ]
    return 100 * sum(improvements) / len(improvements)


def check_baselines(owner: str, baselines: Mapping[str, float]) -> None:
    """Raise unless improvements over the baselines have a size and a sign.

    Args:
        owner: whose baselines they are, for the message.
        baselines: one number per task.

    Raises:
        ValueError: if one is not positive and finite: a negative one would turn a gain into a loss.
    """
    useless = {task: value for task, value in baselines.items() if not 0 < value < math.inf}
    if useless:
        raise ValueError(
            f"The baselines of `{owner}` should be positive and finite. Found {useless}."
        )
