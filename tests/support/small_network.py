"""A network of few convolutions for three tasks, with parts like those of a large one."""

from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_mtl import DensePrediction
from lightning_mtl.tasks import Depth, Normals, Segmentation
from tests.support.toy import quiet_trainer

DEFAULTS = {"max_epochs": -1, "max_steps": 3, "limit_val_batches": 0}


def block(width: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(width, 6, 3, padding=1), nn.Softmax(1), nn.Conv2d(6, out, 1))


class SmallNetwork(nn.Module):
    """A trunk and a decoder for each task."""

    def __init__(self, channels: Mapping[str, int]) -> None:
        super().__init__()
        self.trunk = block(3, 5)
        self.decoders = nn.ModuleDict({task: block(5, out) for task, out in channels.items()})

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        features = self.trunk(image)
        return {task: decoder(features) for task, decoder in self.decoders.items()}


def small_module(**arguments: Any) -> DensePrediction:
    torch.manual_seed(0)
    return DensePrediction([Segmentation(4), Depth(), Normals()], SmallNetwork, **arguments)


def small_loader(batches: int = 2) -> DataLoader[Any]:
    """Always the same noise."""
    generator = torch.Generator().manual_seed(1)

    def sample() -> dict[str, Tensor]:
        normals = torch.randn(2, 3, 6, 8, generator=generator)
        return {
            "image": torch.rand(2, 3, 6, 8, generator=generator),
            "segmentation": torch.randint(4, (2, 6, 8), generator=generator),
            "depth": torch.rand(2, 1, 6, 8, generator=generator) + 1,
            "normals": nn.functional.normalize(normals, dim=1),
        }

    return DataLoader([sample() for _ in range(batches)], batch_size=None)


def fitted(
    module: DensePrediction,
    *callbacks: L.Callback,
    ckpt_path: str | None = None,
    **arguments: Any,
) -> L.Trainer:
    trainer = quiet_trainer(callbacks=list(callbacks), **(DEFAULTS | arguments))
    trainer.fit(module, small_loader(), small_loader(1), ckpt_path=ckpt_path)
    return trainer
