"""Mixed batches under a Trainer: resumed exactly, whatever was drawn ahead, and dealt to ranks."""

from itertools import islice
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, Dataset, default_collate

from lightning_mtl.data import MixtureLoader, MixtureSampler
from tests.support.toy import quiet_trainer

SIZES = {"one": 7, "two": 40}


class Noisy(Dataset):
    """Samples that are their number and a number from torch's generator."""

    def __init__(self, start: int, size: int) -> None:
        self.start, self.size = start, size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Tensor:
        return torch.stack([torch.tensor(float(self.start + index)), torch.rand(())])


def mixed(workers: int = 0, batches: int = 6, **options: Any) -> MixtureLoader:
    data = ConcatDataset([Noisy(0, 7), Noisy(7, 40)])
    ahead = 2 if workers else None
    return MixtureLoader(
        data,
        MixtureSampler(SIZES, 4, batches=batches, seed=2),
        default_collate,
        num_workers=workers,
        prefetch_factor=ahead,
        **options,
    )


class Diary(L.LightningModule):
    """Notes what it is trained on, and asks for other shares in every step."""

    def __init__(self, loader: MixtureLoader) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.loader = loader
        self.seen: list[list[list[float]]] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.seen.append(batch.tolist())
        share = (1 + self.global_step % 3) / 4
        self.loader.batch_sampler.weights = {"one": share, "two": 1 - share}
        return (batch * self.weight).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def fit(
    folder: Path, resume: Path | None = None, workers: int = 0, batches: int = 6, **options: Any
) -> Diary:
    module = Diary(mixed(workers, batches))
    saving = ModelCheckpoint(folder, "{step}", save_top_k=-1, every_n_train_steps=1)
    settings = {"max_epochs": 3, "callbacks": [saving], "enable_checkpointing": True}
    quiet_trainer(**(settings | options)).fit(module, module.loader, ckpt_path=resume)
    return module


def test_a_resumed_run_sees_the_batches_of_the_uninterrupted_one(tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole").seen
    assert len(whole) == 18
    compositions = {tuple(sorted(row[0] < 7 for row in batch)) for batch in whole}
    assert len(compositions) == 3
    for step in (1, 6, 8):  # within the first epoch, at its end, within the second
        resumed = fit(tmp_path / f"from {step}", tmp_path / "whole" / f"step={step}.ckpt").seen
        assert resumed == whole[step:]


def test_batches_that_workers_had_drawn_ahead_are_drawn_again(tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole", workers=2, batches=8, max_epochs=2).seen
    # Weights hold 2 workers x 2 batches later than without workers.
    assert [sum(row[0] < 7 for row in batch) for batch in whole[:7]] == [2, 2, 2, 2, 2, 1, 2]
    checkpoint = tmp_path / "whole" / "step=2.ckpt"
    resumed = fit(tmp_path / "on", checkpoint, workers=2, batches=8, max_epochs=2).seen
    assert resumed == whole[2:]


def test_epochs_that_are_cut_short_leave_no_sample_out(tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole", limit_train_batches=4).seen
    checkpoint = tmp_path / "whole" / "step=4.ckpt"
    assert fit(tmp_path / "on", checkpoint, limit_train_batches=4).seen == whole[4:]
    drawn = [row[0] for batch in whole for row in batch if row[0] >= 7]
    assert len(set(drawn)) == len(drawn) > 20


@pytest.mark.slow
@pytest.mark.parametrize("persistent", [False, True])
def test_workers_that_are_interrupted_leave_no_sample_out(persistent: bool) -> None:
    loader = mixed(2, 8, persistent_workers=persistent)
    batches = [batch for _ in range(4) for batch in islice(loader, 3)]
    drawn = [int(row[0]) for batch in batches for row in batch if row[0] >= 7]
    assert len(set(drawn)) == len(drawn) == 24
    assert batches[0].tolist() == next(iter(mixed(0, 8))).tolist()


def test_random_numbers_differ_from_visit_to_visit_and_follow_the_seed() -> None:
    def numbers(seed: int) -> list[float]:
        return [row[1] for batch in mixed(batches=20, seed=seed) for row in batch.tolist()]

    first = numbers(0)
    assert len(set(first)) == len(first) == 80
    assert numbers(0) == first
    assert not set(numbers(1)) & set(first)


def test_without_a_trainer_a_state_goes_on_within_its_epoch() -> None:
    loader = mixed()
    list(loader)
    batches = iter(loader)
    next(batches)
    state = loader.state_dict()
    resumed = mixed()
    resumed.load_state_dict(state)
    # A state that is asked for before the first batch is the one that was given.
    again = mixed()
    again.load_state_dict(resumed.state_dict())
    rest = [batch.tolist() for batch in batches]
    assert [batch.tolist() for batch in resumed] == [batch.tolist() for batch in again] == rest
    assert [batch.tolist() for batch in resumed] == [batch.tolist() for batch in loader]


def test_counts_are_those_of_the_batch_that_was_handed_out() -> None:
    loader = mixed()
    batches = iter(loader)
    first = next(batches)
    loader.batch_sampler.weights = {"one": 1, "two": 3}
    assert loader.counts == {"one": 2, "two": 2}
    assert (first[:, 0] < 7).sum() == 2
    next(batches)
    assert loader.counts == {"one": 1, "two": 3}


def test_data_of_another_size_than_the_sampler_was_told_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"should have the 47 samples of its sampler's tasks"):
        MixtureLoader(ConcatDataset([Noisy(0, 7)]), MixtureSampler(SIZES, 4))
