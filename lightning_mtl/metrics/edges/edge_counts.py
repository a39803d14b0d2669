"""Counts of matched edge pixels of one image, over thresholds."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from lightning_mtl.metrics.edges.matching import match
from lightning_mtl.metrics.edges.thinning import thin

__all__ = ["edge_counts"]


def edge_counts(
    probability: Float[np.ndarray, "H W"],
    targets: Bool[np.ndarray, "A H W"],
    valid: Bool[np.ndarray, "H W"],
    thresholds: Sequence[float],
    radius: float,
    inclusive: bool,
) -> Int[np.ndarray, "4 T"]:
    """Matched and all target pixels, matched and all predicted pixels, at each of T thresholds.

    At each threshold the map is made binary and thinned, then matched to each annotator on its
    own. A predicted pixel is matched if it is so to any annotator; target pixels add up over them
    (`evaluation_bdry_image` of BSDS500, Arbelaez et al., TPAMI 2011).

    Args:
        probability: probability of an edge.
        targets: edges of the A annotators, lines of one pixel.
        valid: where predicted pixels count.
        thresholds: in ascending order.
        radius: largest distance of a match in pixels.
        inclusive: whether a probability equal to the threshold is an edge.
    """
    counts = np.zeros((4, len(thresholds)), dtype=np.int64)
    size = -1
    for index, threshold in enumerate(thresholds):
        mask = probability >= threshold if inclusive else probability > threshold
        # Masks shrink as thresholds rise, so one of the same size is the same.
        previous, size = size, int(np.count_nonzero(mask))
        if size == previous:
            counts[:, index] = counts[:, index - 1]
            continue
        edges = thin(mask) & valid
        matched = np.stack([match(edges, target, radius) for target in targets])
        matched_targets, matched_edges = np.count_nonzero(matched), matched.any(axis=0).sum()
        counts[:, index] = matched_targets, targets.sum(), matched_edges, np.count_nonzero(edges)
    return counts
