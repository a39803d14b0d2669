"""The Pareto front of methods that are judged by several metrics."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from lightning_mtl.statistics.arguments import finite_array


def pareto_front(points: Float[np.ndarray, "n d"], higher_is_better: Sequence[bool]) -> list[int]:
    """The indices of the points that no other dominates, in ascending order.

    A point dominates another if it is at least as good in every coordinate, and better in one.
    Equal points do not dominate each other: all of them are kept, or none.

    >>> pareto_front(np.array([[0.9, 0.3], [0.8, 0.2], [0.7, 0.4]]), [True, False])
    [0, 1]

    Args:
        points: one for each method, with one coordinate for each task, such as its primary metric.
        higher_is_better: for each coordinate.

    Raises:
        ValueError: if a coordinate is NaN or infinite, or has no direction.
    """
    points = finite_array("pareto_front", "points", points, axes=2)
    if len(higher_is_better) != points.shape[1]:
        raise ValueError(
            f"`pareto_front(higher_is_better=)` should have one entry for each of"
            f" {points.shape[1]} coordinates. Found {len(higher_is_better)}."
        )
    goodness = np.where(higher_is_better, points, -points)
    dominated = [
        ((goodness >= point).all(1) & (goodness > point).any(1)).any() for point in goodness
    ]
    return np.flatnonzero(~np.array(dominated, dtype=bool)).tolist()
