"""Small exact solvers on (K, K) matrices: float64 inside, whatever the scale of the gradients.

Each looks at its numbers where they are on the host, and takes its twin in `on_device` elsewhere.
"""

from lightning_mtl.linalg.ball import max_min_in_ball
from lightning_mtl.linalg.cone import dual_cone, nonnegative_qp
from lightning_mtl.linalg.cosines import (
    cosines_and_norms,
    equal_cosines,
    impartial_weights,
    solve_units,
)
from lightning_mtl.linalg.fair import fair_weights
from lightning_mtl.linalg.integers import integers_beside
from lightning_mtl.linalg.rounding import dependence, resolution
from lightning_mtl.linalg.simplex import nonzero_min_norm, project_to_simplex, simplex_min_norm
from lightning_mtl.linalg.singular_values import equal_singular_values

__all__ = [
    "cosines_and_norms",
    "dependence",
    "dual_cone",
    "equal_cosines",
    "equal_singular_values",
    "fair_weights",
    "impartial_weights",
    "integers_beside",
    "max_min_in_ball",
    "nonnegative_qp",
    "nonzero_min_norm",
    "project_to_simplex",
    "resolution",
    "simplex_min_norm",
    "solve_units",
]
