"""Morphological thinning, in time proportional to the pixels that it removes."""

from itertools import cycle

import numpy as np
from jaxtyping import Bool

__all__ = ["thin"]

NOTHING = np.zeros(0, dtype=np.int64)
# Row and column of the neighbours x1 to x8, counter-clockwise from the east; x_i is bit i - 1.
NEIGHBOURS = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))


def thin(mask: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """The mask thinned to lines of one pixel, until nothing changes.

    Guo and Hall, "Parallel Thinning with Two-Subiteration Algorithms" (CACM 1989), in the form of
    Lam, Lee and Suen, "Thinning Methodologies" (TPAMI 1992): what benchmarks of edges know as
    `bwmorph(mask, "thin", inf)`, and equal to `skimage.morphology.thin`. The latter filters the
    whole image in each iteration, and a thick mask needs many; here, an iteration looks only at
    pixels next to one that was just removed.

    Args:
        mask: the pixels to thin; those outside of the image count as not set.
    """
    width = mask.shape[1] + 2
    alive = np.pad(mask, 1).ravel()
    offsets = np.array([row * width + column for row, column in NEIGHBOURS])
    bits = np.left_shift(1, np.arange(8)).astype(np.uint8)
    around = np.zeros_like(alive, dtype=np.uint8)
    for offset, bit in zip(offsets, bits, strict=True):
        around |= np.roll(alive, -offset) * bit
    # The two rules take turns. One looks at what changed since its own last turn: in that turn,
    # after it had looked, and in the other's. Inside a region nothing can be removed.
    earlier, changed = NOTHING, np.flatnonzero(alive & (around != 255))
    for removable in cycle(_removable()):
        candidates = np.concatenate([earlier, changed])
        removed = np.unique(candidates[removable[around[candidates]] & alive[candidates]])
        alive[removed] = False
        for offset, bit in zip(offsets, bits, strict=True):
            around[removed - offset] &= ~bit
        neighbours = (removed[:, None] + offsets).ravel()
        earlier, changed = changed, neighbours[alive[neighbours]]
        if not earlier.size and not changed.size:
            return alive.reshape(-1, width)[1:-1, 1:-1]
    raise AssertionError("unreachable")


def _removable() -> Bool[np.ndarray, "2 256"]:
    """For the rules of the first and of the second turn, the neighbourhoods that lose their pixel.

    Conditions G1 (one crossing), G2 (neither an end nor inside) and G3 (which side) of the papers.
    """
    x1, x2, x3, x4, x5, x6, x7, x8 = (np.arange(256) >> np.arange(8)[:, None] & 1).astype(bool)
    odd, even, next_odd = np.stack([x1, x3, x5, x7]), np.stack([x2, x4, x6, x8]), [x3, x5, x7, x1]
    crossings = (~odd & (even | next_odd)).sum(axis=0)
    pairs = np.minimum((odd | even).sum(axis=0), (even | next_odd).sum(axis=0))
    either = (crossings == 1) & (pairs >= 2) & (pairs <= 3)
    return np.stack([either & ~((x2 | x3 | ~x8) & x1), either & ~((x6 | x7 | ~x4) & x5)])
