"""Two tasks, each with data of its own, whose gradients have a known length and noise."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from lightning_mtl import MultiTaskModule
from lightning_mtl.callbacks import AdaptiveMixture, GradientNoiseMonitor
from lightning_mtl.data import MixtureLoader, MixtureSampler, TaskDatasets

SIZE = 16
"""Parameters, over which squared norms and variances are sums."""


class Linear(MultiTaskModule):
    """Loss x · θ: the gradient of a task is the mean of its samples, wherever θ is."""

    task_names = ("one", "two")

    def __init__(self, lr: float = 0.1) -> None:
        super().__init__()
        self.shared = nn.Parameter(torch.zeros(SIZE))
        self.lr = lr
        self.seen: list[dict[str, Tensor]] = []

    def task_losses(self, batch: Mapping[str, Sequence[Tensor]]) -> dict[str, Tensor]:
        self.seen.append({task: samples.clone() for task, (samples,) in batch.items()})
        return {task: (samples @ self.shared).mean() for task, (samples,) in batch.items()}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


def samples(size: int, norm: float, variance: float, seed: int) -> TensorDataset:
    """Samples whose mean has a squared norm, and whose variance is a sum over parameters."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(size, SIZE, generator=generator)
    noise = (noise - noise.mean(0)) * (variance / SIZE) ** 0.5
    direction = torch.nn.functional.one_hot(torch.tensor(seed), SIZE)
    return TensorDataset(noise + norm**0.5 * direction)


def mixed_loader(
    norms: tuple[float, float] = (1.0, 1.0),
    variances: tuple[float, float] = (0.0, 0.0),
    batch_size: int = 8,
    batches: int = 10,
    workers: int = 0,
    **options: Any,
) -> MixtureLoader:
    parts = zip(("one", "two"), (400, 300), norms, variances, (1, 2), strict=True)
    data = TaskDatasets({task: samples(*numbers) for task, *numbers in parts})
    sampler = MixtureSampler(data.sizes, batch_size, batches=batches, **options)
    return MixtureLoader(data, sampler, num_workers=workers)


def adaptive(zeta_1: float = 0.0, zeta_2: float = 0.0, steps: int = 2) -> list[L.Callback]:
    """The callbacks of a run, with a monitor that measures every step."""
    return [GradientNoiseMonitor(1), AdaptiveMixture(zeta_1, zeta_2, every_n_steps=steps)]
