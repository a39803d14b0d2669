"""A toy of which many labels are unknown, and which counts those that it has."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from lightning_mtl.weightings.bases.cross_gramian_weighting import CrossGramianWeighting
from tests.support.toy import (
    TASKS,
    Graded,
    ToyData,
    parameters,
    quiet_trainer,
    toy_data,
    weights,
)
from tests.support.weightings import EXAMPLES, ROUTES

ROUTES_OF_ALL_PARTS = [
    name for name in ROUTES.values() if not isinstance(EXAMPLES[name](), CrossGramianWeighting)
]
"""One rule of every route. Rules on J_r J_sᵀ of different parts see more of them with more ranks or
micro-batches."""


class Counted(Graded):
    """A toy that returns each loss with the number of its known labels; NaN is unknown."""

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        x, *targets = batch
        features = self.trunk(x)
        losses = {}
        for task, target in zip(TASKS, targets, strict=True):
            known = ~target.isnan()
            error = torch.where(known, self.heads[task](features) - target.nan_to_num(), 0)
            count = known.sum()
            losses[task] = self.scales[task] * error.square().sum() / count.clamp(min=1), count
        return losses


class CountedData(ToyData):
    """Windows of 8 samples, each half of which has unequal numbers of labels, and one has none."""

    def train_dataloader(self) -> DataLoader:
        data = partly_known()
        sampler = DistributedSampler(
            data, self.trainer.world_size, self.trainer.global_rank, shuffle=False
        )
        return DataLoader(data, batch_size=self.batch_size, sampler=sampler)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(toy_data(16), batch_size=16)


def partly_known(samples: int = 16) -> TensorDataset:
    """The toy's data; `one` is unknown in the first half of each window, and to the second rank."""
    x, *targets = toy_data(samples).tensors
    place = torch.arange(samples) % 8
    chance = torch.rand(samples, 2, generator=torch.Generator().manual_seed(5))
    unknown = [
        ((place < 4) | (place % 2 == 1))[:, None].expand(-1, 2),
        chance < 0.4,
        (place > 4)[:, None] & (chance < 0.8),
    ]
    pairs = zip(targets, unknown, strict=True)
    return TensorDataset(x, *(torch.where(missing, torch.nan, t) for t, missing in pairs))


def train_routes(devices: int, accumulate: int) -> dict[str, Tensor]:
    """Parameters and weights after steps of 8 samples, in `devices` times `accumulate` parts."""
    settings = {"strategy": "ddp"} if devices > 1 else {}
    results = {}
    for name in ROUTES_OF_ALL_PARTS:
        module = Counted()
        trainer = quiet_trainer(
            callbacks=[EXAMPLES[name]()],
            devices=devices,
            accumulate_grad_batches=accumulate,
            max_epochs=3,
            **settings,
        )
        trainer.fit(module, CountedData(8 // devices // accumulate))
        results[name] = parameters(module)
        results[f"weights {name}"] = weights(module)
    return results
