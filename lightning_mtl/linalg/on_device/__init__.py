"""The twins of the solvers, for Gramians on a device: no branch, so that the host never waits.

Each runs the same operations whatever the numbers are. What the host decides by looking, these
decide by masks, by trying all supports, or by a fixed number of steps. They are for few tasks: the
supports are 2^K. float64 inside, as on the host; they run on any device.
"""

from lightning_mtl.linalg.on_device.ball import max_min_in_ball
from lightning_mtl.linalg.on_device.cone import dual_cone
from lightning_mtl.linalg.on_device.cosines import cosines_and_norms
from lightning_mtl.linalg.on_device.fair import fair_weights
from lightning_mtl.linalg.on_device.integers import integers
from lightning_mtl.linalg.on_device.simplex import nonzero_min_norm, simplex_min_norm
from lightning_mtl.linalg.on_device.singular_values import equal_singular_values
from lightning_mtl.linalg.on_device.units import solve_units

__all__ = [
    "cosines_and_norms",
    "dual_cone",
    "equal_singular_values",
    "fair_weights",
    "integers",
    "max_min_in_ball",
    "nonzero_min_norm",
    "simplex_min_norm",
    "solve_units",
]
