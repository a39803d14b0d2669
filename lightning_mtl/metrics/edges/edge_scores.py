"""Scores from counts of matched edge pixels."""

import numpy as np
from jaxtyping import Float, Int

__all__ = ["best_f", "f_score", "interpolated_ap"]

STEPS_BETWEEN_THRESHOLDS = 100
RECALLS = np.linspace(0, 1, 101)


def recall_precision(
    counts: Int[np.ndarray, "4 *T"], empty_precision: float
) -> tuple[Float[np.ndarray, "*T"], Float[np.ndarray, "*T"]]:
    """Recall and precision; a recall of nothing is 0, a precision of nothing `empty_precision`."""
    matched_targets, targets, matched_edges, edges = counts
    recall = matched_targets / np.maximum(targets, 1)
    return recall, np.where(edges > 0, matched_edges / np.maximum(edges, 1), empty_precision)


def f_score(counts: Int[np.ndarray, "4 *T"], empty_precision: float) -> Float[np.ndarray, "*T"]:
    """The harmonic mean of recall and precision, 0 if both are."""
    return _harmonic(*recall_precision(counts, empty_precision))


def best_f(counts: Int[np.ndarray, "4 T"], empty_precision: float, interpolate: bool) -> float:
    """The largest F-score of all thresholds.

    Args:
        counts: as `edge_counts` gives them, summed over images.
        empty_precision: precision where nothing is predicted.
        interpolate: whether to also try 100 points between neighbouring thresholds, with recall and
            precision interpolated linearly (`collect_eval_bdry` of BSDS500).
    """
    recall, precision = recall_precision(counts, empty_precision)
    scores = _harmonic(recall, precision)
    if interpolate:
        share = np.linspace(0, 1, STEPS_BETWEEN_THRESHOLDS)[:, None]
        between = (share * values[1:] + (1 - share) * values[:-1] for values in (recall, precision))
        scores = np.append(scores, _harmonic(*between))
    return float(scores.max())


def interpolated_ap(counts: Int[np.ndarray, "4 T"], empty_precision: float) -> float:
    """The area below precision over recall: the sum of P at R = 0, 0.01, ..., 1, divided by 100.

    P is interpolated linearly between the recalls that were reached and 0 beyond them; one recall
    alone has no area.
    """
    recall, precision = recall_precision(counts, empty_precision)
    reached, first = np.unique(recall, return_index=True)
    if reached.size < 2:
        return 0.0
    return float(np.interp(RECALLS, reached, precision[first], left=0, right=0).sum() / 100)


def _harmonic(recall: np.ndarray, precision: np.ndarray) -> np.ndarray:
    total = recall + precision
    return 2 * recall * precision / np.where(total > 0, total, 1)
