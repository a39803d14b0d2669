"""Networks that a sketch is measured on, and losses over four decades."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torchvision.models import resnet18


class Heads(nn.Module):
    """K heads of one convolution each on a trunk; task k has a loss of the order of 10^(k - 2)."""

    def __init__(self, trunk: nn.Module, channels: int, num_tasks: int = 5) -> None:
        super().__init__()
        self.trunk = trunk
        self.heads = nn.ModuleList(nn.Conv2d(channels, 3, 1) for _ in range(num_tasks))

    def losses(self, x: Tensor, targets: Tensor) -> Sequence[Tensor]:
        features = self.trunk(x)
        return [
            (head(features) - target).square().mean() * 10.0 ** (task - 2)
            for task, (head, target) in enumerate(zip(self.heads, targets, strict=True))
        ]

    def run_on(self, size: int) -> Callable[[], Sequence[Tensor]]:
        x = torch.randn(4, 3, size, size)
        targets = torch.randn(len(self.heads), 4, 3, 1, 1)
        return lambda: self.losses(x, targets)


def small() -> Heads:
    """Four layers with batch norm in training mode, of which one works in groups."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after, groups in ((3, 16, 1), (16, 32, 1), (32, 32, 2), (32, 32, 1)):
        layers += [
            nn.Conv2d(before, after, 3, padding=1, groups=groups, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        ]
    return Heads(nn.Sequential(*layers), 32)


def residual(num_tasks: int = 5) -> Heads:
    """A ResNet-18 with batch norm in training mode."""
    torch.manual_seed(0)
    trunk = nn.Sequential(*list(resnet18(weights=None).children())[:-2])
    return Heads(trunk, 512, num_tasks)
