"""Dense prediction on rendered rooms, small enough for tests of all weightings."""

from functools import cache
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from lightning_mtl import DensePrediction
from lightning_mtl.callbacks import DynamicTaskPriority
from lightning_mtl.data import SyntheticRooms
from lightning_mtl.tasks import Depth, Normals, Segmentation
from tests.support.toy import TASKS, ResumableLoader
from tests.support.weightings import EXAMPLES

STEPS = 20
EPOCHS = 4
"""Short ones: some rules move with an epoch or a validation only."""
ROOMS_EXAMPLES = EXAMPLES | {"DynamicTaskPriority": DynamicTaskPriority}
SOURCES = dict(zip(TASKS, ("depth", "segmentation", "normals"), strict=True))


class SmallNetwork(nn.Module):
    """A strided encoder with a skip connection, and a head per task; no norm sees the batch."""

    def __init__(self, channels: dict[str, int]) -> None:
        super().__init__()
        self.fine = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.GroupNorm(2, 8), nn.GELU())
        self.coarse = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.GroupNorm(4, 16), nn.GELU())
        self.merge = nn.Conv2d(24, 16, 3, padding=1)
        self.heads = nn.ModuleDict(
            {
                task: nn.Sequential(nn.Conv2d(16, 8, 3, padding=1), nn.GELU(), nn.Conv2d(8, n, 1))
                for task, n in channels.items()
            }
        )

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        fine = self.fine(image)
        coarse = nn.functional.interpolate(self.coarse(fine), scale_factor=2.0)
        features = self.merge(torch.cat([fine, coarse], 1))
        return {
            task: nn.functional.interpolate(head(features), scale_factor=2.0)
            for task, head in self.heads.items()
        }


class SmallRooms(Dataset[dict[str, Tensor]]):
    """Rooms of 32 x 40 pixels, whose tasks have the names that the examples expect."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return frames(self.length)[index]


@cache
def frames(length: int) -> list[dict[str, Tensor]]:
    rooms = SyntheticRooms(length, size=(32, 40))
    samples = [rooms[index] for index in range(length)]
    return [
        {"image": sample["image"], **{task: sample[SOURCES[task]] for task in TASKS}}
        for sample in samples
    ]


def small_module(optimizer: type[torch.optim.Optimizer] = torch.optim.SGD) -> DensePrediction:
    torch.manual_seed(7)
    tasks = [Depth(name="one"), Segmentation(5, name="two"), Normals(name="three")]
    return DensePrediction(tasks, SmallNetwork, lambda p: optimizer(p, lr=0.02))


class RoomsData(L.LightningDataModule):
    """`steps` batches an epoch, in a fixed order; ranks take turns, so that two see one's batch."""

    def __init__(self, batch_size: int, steps: int = STEPS // EPOCHS) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.length = batch_size * steps

    def train_dataloader(self) -> DataLoader[Any]:
        world = self.trainer.world_size
        data = SmallRooms(self.length * world)
        sampler = DistributedSampler(data, world, self.trainer.global_rank, shuffle=False)
        return DataLoader(data, batch_size=self.batch_size, sampler=sampler)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(SmallRooms(2), batch_size=1)


class ResumableRooms(RoomsData):
    """The same batches, for a run that is resumed within an epoch."""

    def train_dataloader(self) -> Any:
        return ResumableLoader(super().train_dataloader())
