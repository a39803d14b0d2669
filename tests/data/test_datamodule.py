from dataclasses import dataclass
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, RandomSampler

from lightning_mtl.data import MultiTaskDataModule, RoomsDataModule
from lightning_mtl.data.augmentation.modalities import MODALITIES, Labels
from lightning_mtl.data.datamodule import OfficialSplitsDataModule


class Numbers(Dataset):
    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        sample = {"image": torch.full((3, 2, 2), float(index))}
        return sample if index % 2 else {**sample, "depth": torch.ones(1, 2, 2)}


class NumbersDataModule(MultiTaskDataModule):
    built: tuple[str, ...] = ()

    def dataset(self, split):
        self.built = (*self.built, split)
        return Numbers({"train": 11, "val": 5, "test": 7}[split])


def numbers(loader) -> list[int]:
    return [int(image[0, 0, 0]) for batch in loader for image in batch["image"]]


@pytest.mark.parametrize(
    ("stage", "splits"),
    [
        ("fit", ("train", "val")),
        ("validate", ("val",)),
        ("test", ("test",)),
        ("predict", ("test",)),
    ],
)
def test_a_stage_builds_its_splits_once(stage, splits):
    data = NumbersDataModule()
    data.setup(stage)
    data.setup(stage)
    assert data.built == splits


def test_training_shuffles_and_drops_the_incomplete_batch():
    data = NumbersDataModule(batch_size=4)
    data.setup("fit")
    loader = data.train_dataloader()
    assert isinstance(loader.sampler, RandomSampler)
    epochs = [numbers(loader) for _ in range(2)]
    assert all(len(epoch) == 8 == len(set(epoch)) for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_the_shuffle_follows_the_seed():
    data = NumbersDataModule(batch_size=4)
    data.setup("fit")
    orders = []
    for _ in range(2):
        torch.manual_seed(3)
        orders.append(numbers(data.train_dataloader()))
    assert orders[0] == orders[1]


def test_evaluation_sees_every_sample_in_order():
    data = NumbersDataModule(batch_size=4)
    data.setup("fit")
    data.setup("test")
    assert numbers(data.val_dataloader()) == list(range(5))
    assert numbers(data.test_dataloader()) == numbers(data.predict_dataloader()) == list(range(7))


def test_missing_labels_are_filled_in_batches():
    data = NumbersDataModule(batch_size=2)
    data.setup("test")
    depth = next(iter(data.test_dataloader()))["depth"]
    assert depth.amax((1, 2, 3)).tolist() == [1, 0]


class RoughDataModule(MultiTaskDataModule):
    def dataset(self, split):
        return [
            {"image": torch.ones(3, 2, 2)},
            {"image": torch.ones(3, 2, 2), "rough": torch.ones(2, 2)},
        ]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_entry_of_ones_own_is_filled_as_its_modality_says(workers):
    known = {**MODALITIES, "rough": Labels(invalid=7)}
    data = RoughDataModule(batch_size=2, num_workers=workers, modalities=known)
    data.setup("test")
    assert next(iter(data.test_dataloader()))["rough"].unique().tolist() == [1, 7]


@pytest.mark.parametrize(("split", "stage"), [("train", "fit"), ("val", "fit"), ("test", "test")])
def test_a_loader_before_setup_is_an_error_that_says_what_to_call(split, stage):
    data = RoomsDataModule()
    with pytest.raises(
        RuntimeError, match=rf'`RoomsDataModule` should .*{split}.*setup\("{stage}"'
    ):
        getattr(data, f"{split}_dataloader")()


def test_a_batch_larger_than_the_training_set_is_an_error():
    data = NumbersDataModule(batch_size=12)
    data.setup("fit")
    with pytest.raises(ValueError, match=r"`batch_size` should be at most 11, .* Found 12\."):
        data.train_dataloader()


@pytest.mark.parametrize(
    ("device", "available", "pinned"),
    [("cpu", True, False), ("cuda", True, True), ("mps", True, False), ("xla", False, False)],
)
def test_memory_is_pinned_where_the_trainer_uses_an_accelerator(
    monkeypatch, device, available, pinned
):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: available)
    data = NumbersDataModule()
    data.setup("test")
    assert not data.test_dataloader().pin_memory
    data.trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device(device)))
    assert data.test_dataloader().pin_memory is pinned


def test_memory_is_pinned_or_not_where_the_user_says_so():
    data = NumbersDataModule(pin_memory=True)
    data.setup("test")
    assert data.test_dataloader().pin_memory


@pytest.mark.parametrize(
    ("cores", "devices", "workers"),
    [(4, 1, 3), (16, 4, 3), (64, 1, 8), (1, 1, 0), (2, 4, 0)],
    ids=["one device", "several devices", "many cores", "one core", "fewer cores than devices"],
)
# Torch counts the cores of this machine.
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_automatic_workers_leave_a_core_to_each_device(monkeypatch, cores, devices, workers):
    monkeypatch.setattr("lightning_mtl.data.datamodule.usable_cores", lambda: cores)
    data = NumbersDataModule(num_workers="auto", prefetch_factor=3)
    data.setup("test")
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    data.trainer = SimpleNamespace(strategy=strategy, num_devices=devices)
    loader = data.test_dataloader()
    assert loader.num_workers == workers
    assert loader.persistent_workers is (workers > 0)
    assert loader.prefetch_factor == (3 if workers else None)


def test_workers_that_should_not_live_on_do_not():
    data = NumbersDataModule(num_workers=1, persistent_workers=False)
    data.setup("test")
    assert not data.test_dataloader().persistent_workers


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_workers": -1}, r"num_workers=\)` should be at least 0. Found -1"),
        ({"num_workers": 1, "prefetch_factor": 0}, r"prefetch_factor=\)` should be at least 1"),
        ({"prefetch_factor": 2}, r"num_workers=\)` should be .* where `prefetch_factor` is set"),
        ({"persistent_workers": True}, r"num_workers=\)` .* `persistent_workers` is set. Found 0"),
    ],
    ids=["negative", "nothing ahead", "nobody prefetches", "nobody lives on"],
)
@pytest.mark.parametrize("kind", [NumbersDataModule, RoomsDataModule])
def test_workers_that_do_not_fit_are_an_error(kind, arguments, message):
    with pytest.raises(ValueError, match=rf"`{kind.__name__}\({message}"):
        kind(**arguments)


class MeanDepth(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(()))

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        return (batch["depth"] - self.mean).abs().mean()

    def validation_step(self, batch: dict[str, Tensor], index: int) -> None:
        self.log("error", (batch["depth"] - self.mean).abs().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.5)


def test_a_trainer_fits_and_validates_on_rooms(tmp_path):
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    data = RoomsDataModule((16, 24), 8, 4, 4, tasks=("depth",), batch_size=4)
    trainer.fit(MeanDepth(), datamodule=data)
    assert trainer.global_step == 4
    assert 0 < trainer.callback_metrics["error"] < 10


@dataclass(eq=False)
class Official(OfficialSplitsDataModule):
    """Ten samples to train, three to validate and test, marked where they would be augmented."""

    def dataset(self, split: str) -> list[tuple[int, bool]]:
        offset, length = (0, 10) if split == "train" else (100, 3)
        augmented = self.transform(split) is not None
        return [(offset + index, augmented) for index in range(length)]


def split_of(data: Official, split: str) -> list[tuple[int, bool]]:
    data.setup("test" if split == "test" else "fit")
    return list(data._built(split))


def test_a_share_of_the_training_samples_is_held_out_and_not_augmented():
    data = Official(val_fraction=0.2)
    assert split_of(data, "val") == [(2, False), (7, False)]
    assert split_of(data, "train") == [(index, True) for index in (0, 1, 3, 4, 5, 6, 8, 9)]
    assert split_of(data, "test") == [(index, False) for index in (100, 101, 102)]
    assert not data.validates_on_test
    assert data.augment


def test_without_a_share_validation_sees_the_test_samples_and_says_so():
    data = Official()
    assert split_of(data, "val") == split_of(data, "test")
    assert data.validates_on_test
    assert not RoomsDataModule().validates_on_test


@pytest.mark.parametrize("fraction", [-0.1, 1.0])
def test_a_share_leaves_something_to_train_on(fraction):
    with pytest.raises(ValueError, match=r"`Official\(val_fraction=\)` should lie in \[0, 1\)"):
        Official(val_fraction=fraction)
