"""Affinity propagation, which finds the number of clusters by itself."""

import warnings
from typing import Any

from jaxtyping import Float
from torch import Tensor

DAMPINGS = (0.5, 0.7, 0.9)
"""Of the messages, tried in this order until they settle; the first one is usual."""


def propagate(similarity: Float[Tensor, "K K"]) -> list[int] | None:
    """The cluster of each item, numbered by their first items; `None` if messages never settle.

    The preference for being an exemplar is the median of the similarities. Ties are broken by
    noise of a fixed seed, so that the same matrix has the same clusters on every rank.

    Frey & Dueck, "Clustering by passing messages between data points", Science 2007.

    Args:
        similarity: symmetric and finite, of at least one item.

    Raises:
        ModuleNotFoundError: if scikit-learn is not installed.
    """
    estimator, not_settled = _scikit_learn()
    for damping in DAMPINGS:
        clustering = estimator(
            affinity="precomputed", damping=damping, max_iter=1000, random_state=0
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error", not_settled)
            # All pairs may be equally similar, which is no mistake.
            warnings.filterwarnings("ignore", "All samples have mutually equal", UserWarning)
            try:
                labels = clustering.fit_predict(similarity.double().cpu().numpy()).tolist()
            except not_settled:
                continue
        return in_order_of_first(labels)
    return None


def check_installed() -> None:
    """Raise unless scikit-learn is installed. Called before a run, which would fail late."""
    _scikit_learn()


def in_order_of_first(labels: list[int]) -> list[int]:
    """The same partition, its parts numbered 0, 1, ... in the order of their first items."""
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    return [numbers[label] for label in labels]


def _scikit_learn() -> tuple[Any, type[Warning]]:
    """The estimator, and what it warns of where messages do not settle."""
    try:
        from sklearn.cluster import AffinityPropagation
        from sklearn.exceptions import ConvergenceWarning
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            '`AlternatingUpdates(regroup="affinity")` should have scikit-learn installed. Found no'
            ' package `sklearn`. Install it with `pip install "lightning_mtl[grouping]"`.'
        ) from error
    return AffinityPropagation, ConvergenceWarning
