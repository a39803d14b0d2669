"""Training that was interrupted sees what the uninterrupted run would have seen."""

from itertools import chain
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.connectors.data_connector import _get_distributed_sampler
from torch import Tensor, nn
from torch.utils.data import Dataset, DistributedSampler

from lightning_mtl.data import MultiTaskDataModule
from lightning_mtl.data.resuming import EpochSampler, SeededDataset
from tests.support.toy import quiet_trainer


class Noisy(Dataset):
    """Samples that are their number and a number from torch's generator."""

    def __len__(self) -> int:
        return 11

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"image": torch.stack([torch.tensor(float(index)), torch.rand(())])}


class NoisyDataModule(MultiTaskDataModule):
    def dataset(self, split):
        return Noisy()


class Diary(L.LightningModule):
    """Notes what it is trained on, and is trained on it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.seen: list[list[list[float]]] = []

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        self.seen.append(batch["image"].tolist())
        return (batch["image"] * self.weight).mean()

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def fit(folder: Path, resume: Path | None = None, workers: int = 0, **options: Any) -> Diary:
    L.seed_everything(3, verbose=False)
    module, saving = (
        Diary(),
        ModelCheckpoint(folder, "{step}", save_top_k=-1, every_n_train_steps=1),
    )
    options = {"max_epochs": 3, "callbacks": [saving], "enable_checkpointing": True, **options}
    trainer = quiet_trainer(**options)
    ahead = 3 if workers else None
    data = NoisyDataModule(batch_size=2, num_workers=workers, prefetch_factor=ahead)
    trainer.fit(module, datamodule=data, ckpt_path=resume)
    return module


@pytest.mark.parametrize(
    "step", [1, 5, 7, 10, 13], ids=["first batch", "first epoch", "within", "second", "last"]
)
def test_a_resumed_run_sees_the_batches_of_the_uninterrupted_one(tmp_path, step):
    whole = fit(tmp_path / "whole").seen
    assert len(whole) == 15
    resumed = fit(tmp_path / "resumed", tmp_path / "whole" / f"step={step}.ckpt").seen
    assert resumed == whole[step:]


@pytest.mark.slow
@pytest.mark.parametrize("step", [5, 7])
def test_workers_make_no_difference(tmp_path, step):
    whole = fit(tmp_path / "whole").seen
    assert fit(tmp_path / "workers", workers=2).seen == whole
    checkpoint = tmp_path / "whole" / f"step={step}.ckpt"
    assert fit(tmp_path / "resumed", checkpoint, workers=2).seen == whole[step:]


@pytest.mark.parametrize("step", [3, 4])
def test_epochs_that_are_cut_short_are_resumed_too(tmp_path, step):
    whole = fit(tmp_path / "whole", limit_train_batches=3).seen
    checkpoint = tmp_path / "whole" / f"step={step}.ckpt"
    assert fit(tmp_path / "on", checkpoint, limit_train_batches=3).seen == whole[step:]


def test_epochs_differ_in_order_and_in_random_numbers(tmp_path):
    seen = fit(tmp_path).seen
    epochs = [list(chain(*seen[start : start + 5])) for start in (0, 5, 10)]
    orders = [tuple(index for index, _ in epoch) for epoch in epochs]
    assert len(set(orders)) == 3
    assert all(len(set(order)) == 10 for order in orders)
    numbers = [number for epoch in epochs for _, number in epoch]
    assert len(set(numbers)) == 30


def test_random_numbers_of_a_sample_leave_the_generator_as_it_was():
    data = SeededDataset(Noisy(), seed=5)
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    found = [torch.rand(1)]
    first = data[4]["image"]
    found.append(torch.rand(1))
    assert torch.equal(torch.cat(found), expected)
    assert torch.equal(data[4]["image"], first)
    data.epoch.fill_(1)
    assert not torch.equal(data[4]["image"], first)


def test_without_a_trainer_each_iteration_is_an_epoch_further():
    sampler = EpochSampler(range(9), seed=1)
    first, second = list(sampler), list(sampler)
    assert sorted(first) == sorted(second) == list(range(9))
    assert first != second
    sampler.set_epoch(1)
    assert list(sampler) == second
    assert list(EpochSampler(range(9), seed=2)) != first


def test_ranks_share_the_samples_in_an_order_of_lightning():
    """Our own sampler, wrapped, would have the ranks agree only if all of them were seeded."""
    data = NoisyDataModule(batch_size=2)
    data.setup("fit")
    loader = data.train_dataloader()
    ranks = [
        _get_distributed_sampler(loader, shuffle=True, overfit_batches=0, num_replicas=2, rank=rank)
        for rank in range(2)
    ]
    assert all(type(sampler) is DistributedSampler and sampler.shuffle for sampler in ranks)
    assert set().union(*map(set, ranks)) == set(range(11))


@pytest.mark.filterwarnings("ignore:You requested to overfit")
def test_overfitting_repeats_the_same_batches(tmp_path):
    seen = fit(tmp_path, overfit_batches=2, max_epochs=2).seen
    assert [[int(index) for index, _ in batch] for batch in seen] == 2 * [[0, 1], [2, 3]]
