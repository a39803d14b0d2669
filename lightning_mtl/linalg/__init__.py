"""Small exact solvers on (K, K) matrices: float64 inside, whatever the scale of the gradients."""

from lightning_mtl.linalg.ball import max_min_in_ball
from lightning_mtl.linalg.cone import dual_cone, nonnegative_qp
from lightning_mtl.linalg.cosines import (
    cosines_and_norms,
    dependence,
    equal_cosines,
    impartial_weights,
    resolution,
    solve_units,
)
from lightning_mtl.linalg.fair import fair_weights
from lightning_mtl.linalg.simplex import project_to_simplex, simplex_min_norm

__all__ = [
    "cosines_and_norms",
    "dependence",
    "dual_cone",
    "equal_cosines",
    "fair_weights",
    "impartial_weights",
    "max_min_in_ball",
    "nonnegative_qp",
    "project_to_simplex",
    "resolution",
    "simplex_min_norm",
    "solve_units",
]
