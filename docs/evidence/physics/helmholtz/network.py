"""The network that solves the equation, with one loss each for what its solution has to fulfil."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from helmholtz.problem import WAVE_NUMBER, Batch, solution, source
from lightning_mtl import MultiTaskModule

TASKS = ("residual", "boundary", "data")


class HelmholtzNetwork(MultiTaskModule):
    """A multilayer perceptron for u, of which the losses share all parameters: there are no heads.

    The residual of the equation has second derivatives of the network; its square is thousands of
    times larger than those of the boundary values and of the values at the sensors.

    Args:
        lr: learning rate of Adam.
        width: units of each of the three hidden layers.
    """

    task_names = TASKS
    # Nothing is logged in the time that is measured.
    log_tasks = False
    prog_bar = False

    def __init__(self, lr: float = 3e-3, width: int = 48) -> None:
        super().__init__()
        self.lr = lr
        sizes = [(2, width), (width, width), (width, width)]
        hidden = [part for size in sizes for part in (nn.Linear(*size), nn.Tanh())]
        self.layers = nn.Sequential(*hidden, nn.Linear(width, 1))
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_normal_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, points: Float[Tensor, "N 2"]) -> Float[Tensor, "N 1"]:
        """The prediction of u. The network sees coordinates from -1 to 1, not from 0 to 1."""
        return self.layers(2 * points - 1)

    def residual(self, points: Float[Tensor, "N 2"]) -> Float[Tensor, "N 1"]:
        """What is left of the equation, Δu + k² u - q, at points within the square."""
        points = points.detach().requires_grad_()
        u = self(points)
        (slope,) = torch.autograd.grad(u.sum(), points, create_graph=True)
        curvatures = [
            torch.autograd.grad(slope[:, axis].sum(), points, create_graph=True)[0][:, axis]
            for axis in range(2)
        ]
        return sum(curvatures)[:, None] + WAVE_NUMBER**2 * u - source(points)

    def task_losses(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Mean squares of residual, boundary values and errors at the sensors. Called per batch."""
        sensors = batch["sensors"]
        return {
            "residual": self.residual(batch["interior"]).square().mean(),
            "boundary": self(batch["boundary"]).square().mean(),
            "data": (self(sensors) - solution(sensors)).square().mean(),
        }

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam. Called when training starts."""
        return torch.optim.Adam(self.parameters(), lr=self.lr)


@torch.no_grad()
def relative_error(network: nn.Module, points: Float[Tensor, "N 2"]) -> float:
    """||û - u|| / ||u||, the relative L2 error over points."""
    expected = solution(points)
    return float((network(points) - expected).norm() / expected.norm())
