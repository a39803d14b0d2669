"""Data modules: which data set serves which stage, and how it is loaded."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset, Subset

from lightning_mtl.checks import check_number
from lightning_mtl.data.augmentation.modalities import MODALITIES, Modality
from lightning_mtl.data.augmentation.transforms import (
    Compose,
    RandomHorizontalFlip,
    RandomZoom,
    Sample,
    Transform,
)
from lightning_mtl.data.collate import collate
from lightning_mtl.data.photos import Photos, collate_photos
from lightning_mtl.data.reading.splits import Split
from lightning_mtl.data.resuming import EpochSampler, ResumableLoader, SeededDataset
from lightning_mtl.distributed import usable_cores

STAGES: dict[str, tuple[Split, ...]] = {
    "fit": ("train", "val"),
    "validate": ("val",),
    "test": ("test",),
    "predict": ("test",),
}


class MultiTaskDataModule(L.LightningDataModule, ABC):
    """Loads samples that may lack labels; a subclass builds the data set of each split.

    Training shuffles and drops the last, incomplete batch. Order and augmentation of an epoch
    depend on its number and on the seed of torch's generator alone, so that a resumed run goes on
    as the uninterrupted one would have, also within an epoch. Prediction runs on a folder of
    photos (`Photos`), or else on the test split.

    Args:
        batch_size: samples per batch and process.
        num_workers: processes that load; 0 loads in the main one. `"auto"`: one for each core that
            the training processes of this machine leave free, at most 8 for each of them.
        pin_memory: page-locked batches; `"auto"`: where the Trainer uses an accelerator.
        modalities: what marks each entry as invalid, for samples that lack it; by default
            `MODALITIES`.
        predict: folder of images, or one image, to predict on; needs no other file.
        persistent_workers: whether workers live on from epoch to epoch; `"auto"`: where there are
            any.
        prefetch_factor: batches that each worker has ready; by default 2.

    Raises:
        ValueError: if a number is too small, or workers that there are none of should live on or
            prefetch.
    """

    predict: str | Path | None = None

    @property
    def validates_on_test(self) -> bool:
        """Whether validation sees the samples of the test split, so that it must choose nothing."""
        return False

    def __init__(
        self,
        batch_size: int = 8,
        num_workers: int | Literal["auto"] = 0,
        pin_memory: bool | Literal["auto"] = "auto",
        modalities: Mapping[str, Modality] | None = None,
        *,
        predict: str | Path | None = None,
        persistent_workers: bool | Literal["auto"] = "auto",
        prefetch_factor: int | None = None,
    ) -> None:
        super().__init__()
        _check_workers(type(self).__name__, num_workers, persistent_workers, prefetch_factor)
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self.persistent_workers = persistent_workers
        self.prefetch_factor = prefetch_factor
        self.modalities = MODALITIES if modalities is None else modalities
        self.predict = predict
        self._datasets: dict[Split, Dataset[Sample]] = {}
        self._photos: Photos | None = None

    @abstractmethod
    def dataset(self, split: Split) -> Dataset[Sample]:
        """Build the data set of a split; called by `setup`, once per split."""

    def setup(self, stage: str) -> None:
        """Build the data sets of a stage that are not built yet; called by the Trainer."""
        if stage == "predict" and self.predict is not None:
            self._photos = Photos(self.predict, self._photo_size())
            return
        for split in STAGES[stage]:
            if split not in self._datasets:
                self._datasets[split] = self.dataset(split)

    def train_dataloader(self) -> DataLoader[Sample]:
        """Batches of training samples in random order, all of full size.

        Raises:
            ValueError: if the training set does not fill one batch.
        """
        length = len(self._built("train"))  # type: ignore[arg-type]
        if length < self.batch_size:
            raise ValueError(
                f"`batch_size` should be at most {length}, the number of training samples, because"
                f" training drops an incomplete batch. Found {self.batch_size}. Lower it."
            )
        seed = torch.initial_seed()
        data = SeededDataset(self._built("train"), seed)
        return ResumableLoader(
            data, sampler=EpochSampler(data, seed), drop_last=True, **self._options()
        )

    def val_dataloader(self) -> DataLoader[Sample]:
        """All validation samples in order."""
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[Sample]:
        """All test samples in order."""
        return self._loader("test")

    def predict_dataloader(self) -> DataLoader[Any]:
        """The photos of `predict` one by one, or else all test samples, in order."""
        if self._photos is None:
            return self._loader("test")
        # Their sizes differ, so that each is a batch.
        single = {"batch_size": 1, "collate_fn": collate_photos}
        return DataLoader(self._photos, **(self._options() | single))

    def _loader(self, split: Split) -> DataLoader[Sample]:
        return DataLoader(self._built(split), **self._options())

    def _options(self) -> dict[str, Any]:
        workers = self._workers()
        return {
            "batch_size": self.batch_size,
            "num_workers": workers,
            "persistent_workers": workers > 0 and self.persistent_workers is not False,
            "prefetch_factor": self.prefetch_factor if workers else None,
            "pin_memory": self._pins_memory(),
            "collate_fn": partial(collate, modalities=self.modalities),
        }

    def _photo_size(self) -> tuple[int, int] | None:
        """The size of the samples, in the data modules that have one."""
        size = getattr(self, "size", None)
        return (size, size) if isinstance(size, int) else size

    def _built(self, split: Split) -> Dataset[Sample]:
        if split not in self._datasets:
            stage = next(stage for stage, splits in STAGES.items() if split in splits)
            raise RuntimeError(
                f"`{type(self).__name__}` should have set up the split `{split}`, as the Trainer"
                f" makes it do. Found the splits {list(self._datasets)}. Call"
                f' `setup("{stage}")` first.'
            )
        return self._datasets[split]

    def _workers(self) -> int:
        if self.num_workers != "auto":
            return self.num_workers
        processes = 1 if self.trainer is None else max(self.trainer.num_devices, 1)
        return min(max(usable_cores() // processes - 1, 0), 8)

    def _pins_memory(self) -> bool:
        if self.pin_memory != "auto":
            return self.pin_memory
        if self.trainer is None or not torch.accelerator.is_available():
            return False
        # Unified memory has nothing to pin, and torch warns when asked to.
        return self.trainer.strategy.root_device.type not in ("cpu", "mps")


def _check_workers(
    owner: str, workers: int | str, persistent: bool | str, prefetch_factor: int | None
) -> None:
    """Raise unless the workers of a loader and what they should do fit together."""
    if workers != "auto":
        check_number(owner, "num_workers", workers, 0)  # type: ignore[arg-type]
    if prefetch_factor is not None:
        check_number(owner, "prefetch_factor", prefetch_factor, 1)
    for name, given in (
        ("persistent_workers", persistent is True),
        ("prefetch_factor", prefetch_factor is not None),
    ):
        if workers == 0 and given:
            raise ValueError(
                f"`{owner}(num_workers=)` should be at least 1 where `{name}` is set. Found 0."
                f' Raise it, for instance to "auto", or leave `{name}` out.'
            )


@dataclass(kw_only=True, eq=False)
class DeclaredDataModule(MultiTaskDataModule):
    """Base of the data modules of this package: their arguments are fields of a dataclass.

    A subclass is a dataclass too. It declares only what it adds, and documents only that: the
    command line collects fields, defaults and texts from all bases.

    Args:
        batch_size: samples per batch and process.
        num_workers: processes that load; 0 loads in the main one. `"auto"`: one for each core that
            the training processes of this machine leave free, at most 8 for each of them.
        pin_memory: page-locked batches; `"auto"`: where the Trainer uses an accelerator.
        persistent_workers: whether workers live on from epoch to epoch; `"auto"`: where there are
            any.
        prefetch_factor: batches that each worker has ready; by default 2.
        predict: folder of images of any size, or one image, to predict on; needs no other file. By
            default prediction runs on the test split.
    """

    batch_size: int = 8
    num_workers: int | Literal["auto"] = 0
    pin_memory: bool | Literal["auto"] = "auto"
    persistent_workers: bool | Literal["auto"] = "auto"
    prefetch_factor: int | None = None
    predict: str | Path | None = None

    def __post_init__(self) -> None:
        super().__init__(
            self.batch_size,
            self.num_workers,
            self.pin_memory,
            predict=self.predict,
            persistent_workers=self.persistent_workers,
            prefetch_factor=self.prefetch_factor,
        )


@dataclass(eq=False)
class FilesDataModule(DeclaredDataModule):
    """Base of the data modules that read files, and augment the training frames.

    Args:
        root: folder of the data; by default that of the environment variable of the data set.
        size: height and width of the samples; `None` keeps those on disk.
        augment: random flip and zoom by s (1 to 1.5; depth / s, disparity · s) in training.

    Attributes:
        AUGMENTATION: transforms that `augment` applies, one after the other.
    """

    AUGMENTATION: ClassVar[Sequence[Transform]] = (RandomHorizontalFlip(), RandomZoom((1.0, 1.5)))

    root: str | Path | None = None
    _: KW_ONLY
    size: tuple[int, int] | None = None
    augment: bool = True

    def transform(self, split: Split) -> Transform | None:
        """The augmentation of a split; `None` for validation and test, and without `augment`."""
        return Compose(self.AUGMENTATION) if self.augment and split == "train" else None


@dataclass(eq=False)
class OfficialSplitsDataModule(FilesDataModule):
    """Base of the data modules whose official splits are two: validation sees the test samples.

    Args:
        val_fraction: share of the training samples to hold out for validation, evenly spread over
            their list and not augmented. With 0 validation runs on the official test samples:
            choose nothing by it that you then report on them.

    Raises:
        ValueError: if `val_fraction` is not in [0, 1).
    """

    _: KW_ONLY
    val_fraction: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.val_fraction < 1:
            raise ValueError(
                f"`{type(self).__name__}(val_fraction=)` should lie in [0, 1). Found"
                f" {self.val_fraction}. Give 0.2 to hold out a fifth."
            )

    @property
    def validates_on_test(self) -> bool:
        """Whether validation sees the samples of the test split, so that it must choose nothing."""
        return not self.val_fraction

    def setup(self, stage: str) -> None:
        """Build the data sets of a stage that are not built yet; called by the Trainer."""
        if self.val_fraction:
            for split in STAGES[stage]:
                if split != "test" and split not in self._datasets:
                    self._datasets[split] = self._part_of_training(split)
        super().setup(stage)

    def _part_of_training(self, split: Split) -> Dataset[Sample]:
        """The training samples that are held out for validation, or the others."""
        augmented, self.augment = self.augment, self.augment and split == "train"
        try:
            data = self.dataset("train")
        finally:
            self.augment = augmented
        length = len(data)  # type: ignore[arg-type]
        held_out = evenly_spread(length, max(1, round(self.val_fraction * length)))
        others = [index for index in range(length) if index not in set(held_out)]
        return Subset(data, held_out if split == "val" else others)


def evenly_spread(length: int, count: int) -> list[int]:
    """The middles of `count` equal parts of a list of `length` samples."""
    return [(2 * index + 1) * length // (2 * count) for index in range(count)]
