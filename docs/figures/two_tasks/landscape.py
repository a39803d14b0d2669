"""Two losses of two parameters that conflict, and their Pareto front.

Liu, Liu, Jin, Stone & Liu, "Conflict-Averse Gradient Descent for Multi-task Learning", NeurIPS
2021, the toy example of the appendix. For h > 0 each task has a narrow valley, for h < 0 a wide
bowl. As in Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022, the loss of the
first task is ten times smaller.
"""

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor

TASKS = ("first", "second")
SCALES = (0.1, 1.0)
"""The factor of each task's loss."""

STARTS = ((-8.5, 7.5), (-8.5, -5.0), (9.0, 9.0))
"""The starting points in the published code of Liu et al."""

OFFSET = 21.0
"""What is added to both functions, which reach down to -20: several weightings take logarithms."""

OPTIMUM = 7.0
"""x of the first task's optimum; that of the second lies at its negative."""


def task_losses(
    x: Float[Tensor, "*points"], h: Float[Tensor, "*points"]
) -> Float[Tensor, "2 *points"]:
    """The losses of both tasks at given points: s_1 f(x, h) and s_2 f(-x, h).

    f(x, h) = c(h) log(max(|(x + 7) / 2 - tanh(h)|, 5e-6)) + 6 c(h)
              + c(-h) (((x - 7)² + (h + 8)² / 10) / 10 - 20) + 21,

    with c(h) = max(tanh(h / 2), 0). The paper writes the functions of both tasks out; each is the
    other's mirror image. The constant 21 is added here, and changes no gradient of f.
    """
    sides = torch.stack([x, -x])
    upper = torch.tanh(h / 2)
    valley = ((sides + 7) / 2 - torch.tanh(h)).abs().clamp(min=5e-6).log() + 6
    bowl = ((sides - OPTIMUM) ** 2 + 0.1 * (h + 8) ** 2) / 10 - 20
    values = upper.clamp(min=0) * valley + (-upper).clamp(min=0) * bowl + OFFSET
    return torch.stack([scale * value for scale, value in zip(SCALES, values, strict=True)])


def task_losses_at(points: Float[NDArray, "n 2"]) -> Float[NDArray, "n 2"]:
    """The losses of both tasks at points (x, h), as arrays."""
    return task_losses(*torch.from_numpy(points).T).T.numpy()


def pareto_front(count: int = 281) -> Float[NDArray, "n 2"]:
    """Points (x, h) of the Pareto front, from the optimum of the second task to that of the first.

    The front is convex, so that its points are the minima of λ f(x, h) + (1 - λ) f(-x, h): at
    x = 7 (2 λ - 1), where the bowls of both tasks are in balance, and at the best h for it.
    """
    return np.array([(x, _best_height(x)) for x in np.linspace(-OPTIMUM, OPTIMUM, count)])


def _best_height(x: float) -> float:
    share = (x / OPTIMUM + 1) / 2
    depth = 19.6 * share * (1 - share) - 20
    found = minimize_scalar(
        lambda h: np.tanh(-h / 2) * (depth + 0.01 * (h + 8) ** 2),
        bounds=(-12.0, -4.0),
        method="bounded",
    )
    return float(found.x)


def distance_to_front(
    points: Float[NDArray, "n 2"], front: Float[NDArray, "m 2"]
) -> Float[NDArray, " n"]:
    """The Euclidean distance of each point to the nearest point of the front."""
    return np.linalg.norm(points[:, None] - front[None], axis=-1).min(1)


def remaining(points: Float[NDArray, "n 2"]) -> Float[NDArray, "n 2"]:
    """The part of each loss that is left, (L - best) / (worst on the front - best).

    0 is the task's own optimum, 1 that of the other task, 1/4 for both tasks the middle of the
    front; more than 1 is worse than any point of the front.
    """
    ends = task_losses_at(pareto_front(count=2))
    worst, best = ends.diagonal(), ends[::-1].diagonal()
    return (task_losses_at(points) - best) / (worst - best)
