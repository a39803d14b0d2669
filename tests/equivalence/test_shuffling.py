"""What a resumed run restores of a loader that shuffles: its place, if loader or sampler know it.

A plain `DataLoader(shuffle=True)` has no state and its sampler knows no epoch: all but the order of
the samples is restored.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler, Sampler

from lightning_mtl.callbacks import MoCo
from tests.support.parts import Stream
from tests.support.toy import Toy, parameters, quiet_trainer, toy_data

SAMPLES, EPOCH = 16, 4
"""Samples, and batches of four that make an epoch."""

at_any_step = pytest.mark.parametrize("step", [EPOCH, 2 * EPOCH, EPOCH + 2])
at_the_end_of_an_epoch = pytest.mark.parametrize("step", [EPOCH, 2 * EPOCH])


class Recording(Toy):
    """Remembers the order of the samples."""

    def __init__(self) -> None:
        super().__init__(torch.optim.Adam, lr=0.01)
        self.order: list[float] = []

    def task_losses(self, batch: list[Tensor]) -> dict[str, Tensor]:
        self.order += batch[0][:, 0].tolist()
        return super().task_losses(batch)


def straight_and_resumed(
    loader: Callable[[], DataLoader | Stream], step: int, folder: Path
) -> tuple[Recording, Recording]:
    """An undisturbed run, and one from the checkpoint of a step on, both from one seed."""

    def train(ckpt_path: Path | None = None) -> Recording:
        module = Recording()
        L.seed_everything(3, verbose=False)
        saver = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=step, save_top_k=-1)
        trainer = quiet_trainer(callbacks=[MoCo(), saver], max_epochs=3, enable_checkpointing=True)
        trainer.fit(module, loader(), ckpt_path=ckpt_path)
        return module

    return train(), train(folder / f"step={step}.ckpt")


class SeededByEpoch(Sampler[int]):
    """An order for each epoch, of which Lightning tells the number, also after a resume."""

    def __init__(self) -> None:
        self.epoch = 0

    def __len__(self) -> int:
        return SAMPLES

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.epoch)
        return iter(torch.randperm(SAMPLES, generator=generator).tolist())


def seeded_sampler() -> DataLoader:
    return DataLoader(toy_data(SAMPLES), 4, sampler=SeededByEpoch())


def distributed_sampler() -> DataLoader:
    data = toy_data(SAMPLES)
    return DataLoader(data, 4, sampler=DistributedSampler(data, 1, 0, shuffle=True))


def stateful() -> Stream:
    """Shuffles anew in every epoch, and remembers its place."""
    data = toy_data(SAMPLES)

    def batch_at(position: int) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(position // EPOCH)
        order = torch.randperm(SAMPLES, generator=generator).view(EPOCH, 4)
        return data[order[position % EPOCH]]

    return Stream(batch_at, EPOCH)


@at_the_end_of_an_epoch
@pytest.mark.parametrize("loader", [seeded_sampler, distributed_sampler])
def test_a_sampler_that_is_seeded_by_the_epoch_resumes_at_its_end_to_the_bit(
    loader: Callable[[], DataLoader], step: int, tmp_path: Path
) -> None:
    straight, resumed = straight_and_resumed(loader, step, tmp_path)
    assert resumed.order == straight.order[4 * step :]
    assert torch.equal(parameters(resumed), parameters(straight))


@at_any_step
def test_a_stateful_loader_that_shuffles_resumes_at_any_step_to_the_bit(
    step: int, tmp_path: Path
) -> None:
    straight, resumed = straight_and_resumed(stateful, step, tmp_path)
    assert resumed.order == straight.order[4 * step :]
    assert len({tuple(straight.order[start : start + 16]) for start in (0, 16, 32)}) == 3
    assert torch.equal(parameters(resumed), parameters(straight))


@at_the_end_of_an_epoch
def test_a_plain_loader_that_shuffles_begins_anew_with_the_order_of_the_first_epoch(
    step: int, tmp_path: Path
) -> None:
    """Of all that a run consists of, this order is what is not restored."""

    def shuffled() -> DataLoader:
        return DataLoader(toy_data(SAMPLES), 4, shuffle=True)

    straight, resumed = straight_and_resumed(shuffled, step, tmp_path)
    assert resumed.order == straight.order[: len(resumed.order)]
    assert resumed.order != straight.order[-len(resumed.order) :]
    assert not torch.equal(parameters(resumed), parameters(straight))
