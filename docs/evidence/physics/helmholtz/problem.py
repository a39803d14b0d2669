"""Helmholtz's equation with a known solution, and the points at which a network is trained.

Δu + k² u = q on the unit square, u = 0 on its boundary. The solution is chosen, u(x, y) =
sin(a π x) sin(b π y), and q computed from it. This is an example of Wang, Teng & Perdikaris,
"Understanding and Mitigating Gradient Flow Pathologies in Physics-Informed Neural Networks", SIAM
Journal on Scientific Computing 2021, with its a = 1, b = 4 and k = 1. There the domain is [-1, 1]²,
and no values within it are known.
"""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import IterableDataset

WAVES = (1.0, 4.0)
"""a and b, the half waves along either axis."""
WAVE_NUMBER = 1.0
"""k of the equation."""

SENSORS = 16
"""How many values of u within the square are known."""
HELD_OUT = 500
"""How many more are known, by which learning rates and weights are chosen."""

Batch = dict[str, Tensor]


def solution(points: Float[Tensor, "N 2"]) -> Float[Tensor, "N 1"]:
    """The solution u at points of the square."""
    a, b = WAVES
    x, y = points.split(1, dim=1)
    return torch.sin(a * math.pi * x) * torch.sin(b * math.pi * y)


def source(points: Float[Tensor, "N 2"]) -> Float[Tensor, "N 1"]:
    """The right-hand side of the equation, q = (k² - (a² + b²) π²) u."""
    a, b = WAVES
    return (WAVE_NUMBER**2 - (a**2 + b**2) * math.pi**2) * solution(points)


def held_out_points() -> Float[Tensor, "N 2"]:
    """Random points of known values that are never trained on: the same ones for every run."""
    return torch.rand(HELD_OUT, 2, generator=torch.Generator().manual_seed(2026))


def grid_points(side: int = 101) -> Float[Tensor, "N 2"]:
    """A regular grid over the square, by which results are reported and nothing is chosen."""
    line = torch.linspace(0, 1, side)
    return torch.cartesian_prod(line, line)


class Points(IterableDataset[Batch]):
    """An endless stream of batches, `interior`, `boundary` and `sensors`, of points each.

    Points within the square and on its boundary are new ones in each batch, uniformly distributed;
    the sensors, whose values are known, stay where they are.

    Args:
        seed: of all points.
        count: points within the square in a batch, and twice as many as on its boundary.
    """

    def __init__(self, seed: int, count: int = 256) -> None:
        self.count = count
        self.generator = torch.Generator().manual_seed(seed)
        self.sensors = self._uniform(SENSORS)

    def __iter__(self) -> Iterator[Batch]:
        """Batches without an end."""
        while True:
            yield {
                "interior": self._uniform(self.count),
                "boundary": self._on_boundary(self.count // 2),
                "sensors": self.sensors,
            }

    def _uniform(self, count: int) -> Float[Tensor, "N 2"]:
        return torch.rand(count, 2, generator=self.generator)

    def _on_boundary(self, count: int) -> Float[Tensor, "N 2"]:
        """Points on the four sides in turn: left, bottom, right and top."""
        points, index = self._uniform(count), torch.arange(count)
        points[index, index % 2] = (index // 2 % 2).to(points)
        return points
