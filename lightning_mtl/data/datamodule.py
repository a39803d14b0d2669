"""Data modules: which data set serves which stage, and how it is loaded."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset

from lightning_mtl.data.augmentation.modalities import MODALITIES, Modality
from lightning_mtl.data.augmentation.transforms import (
    ColorJitter,
    Compose,
    RandomHorizontalFlip,
    Sample,
    Transform,
)
from lightning_mtl.data.collate import collate
from lightning_mtl.data.datasets.mosd import MOSD
from lightning_mtl.data.reading.splits import Split, check_split
from lightning_mtl.data.rooms.synthetic_rooms import SyntheticRooms

STAGES: dict[str, tuple[Split, ...]] = {
    "fit": ("train", "val"),
    "validate": ("val",),
    "test": ("test",),
    "predict": ("test",),
}


class MultiTaskDataModule(L.LightningDataModule, ABC):
    """Loads samples that may lack labels; a subclass says which data set serves a split.

    Training shuffles with torch's generator and drops the last, incomplete batch. Prediction runs
    on the test split.

    Args:
        batch_size: Samples per batch and process.
        num_workers: Processes that load; 0 loads in the main one.
        pin_memory: Page-locked batches; `"auto"`: where the Trainer uses an accelerator.
        modalities: What marks each entry as invalid, for samples that lack it.
    """

    def __init__(
        self,
        batch_size: int = 8,
        num_workers: int = 0,
        pin_memory: bool | Literal["auto"] = "auto",
        modalities: Mapping[str, Modality] = MODALITIES,
    ) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self.modalities = modalities
        self._datasets: dict[Split, Dataset[Sample]] = {}

    @abstractmethod
    def dataset(self, split: Split) -> Dataset[Sample]:
        """Builds the data set of a split; called once per split."""

    def setup(self, stage: str) -> None:
        """Builds the data sets of the stage that are not there yet."""
        for split in STAGES[stage]:
            if split not in self._datasets:
                self._datasets[split] = self.dataset(split)

    def train_dataloader(self) -> DataLoader[Sample]:
        """Shuffled batches of full size.

        Raises:
            ValueError: If the training set does not fill one batch.
        """
        length = len(self._built("train"))  # type: ignore[arg-type]
        if length < self.batch_size:
            raise ValueError(
                f"`batch_size` must be at most the number of training samples, because training "
                f"drops an incomplete batch. Expected at most {length}. Found {self.batch_size}."
            )
        return self._loader("train", shuffle=True, drop_last=True)

    def val_dataloader(self) -> DataLoader[Sample]:
        """All validation samples in order."""
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[Sample]:
        """All test samples in order."""
        return self._loader("test")

    def predict_dataloader(self) -> DataLoader[Sample]:
        """All test samples in order."""
        return self._loader("test")

    def _loader(
        self, split: Split, shuffle: bool = False, drop_last: bool = False
    ) -> DataLoader[Sample]:
        return DataLoader(
            self._built(split),
            batch_size=self.batch_size,
            shuffle=shuffle,
            drop_last=drop_last,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=self._pins_memory(),
            collate_fn=partial(collate, modalities=self.modalities),
        )

    def _built(self, split: Split) -> Dataset[Sample]:
        if split not in self._datasets:
            stage = next(stage for stage, splits in STAGES.items() if split in splits)
            raise RuntimeError(
                f"`{type(self).__name__}` has no data set `{split}` yet. Expected `setup` to have "
                f"been called, as the Trainer does. Found the splits {list(self._datasets)}. Call "
                f'`setup("{stage}")` first.'
            )
        return self._datasets[split]

    def _pins_memory(self) -> bool:
        if self.pin_memory != "auto":
            return self.pin_memory
        if self.trainer is None or not torch.accelerator.is_available():
            return False
        # Unified memory has nothing to pin, and torch warns when asked to.
        return self.trainer.strategy.root_device.type not in ("cpu", "mps")


class RoomsDataModule(MultiTaskDataModule):
    """Rendered rooms (`SyntheticRooms`), a different seed per split; needs no file.

    Args:
        size: Height and width.
        train_length: Number of training frames.
        val_length: Number of validation frames.
        test_length: Number of test frames.
        seed: Equal seeds give equal frames; no two splits share one.
        tasks: Entries of a sample besides the image.
        batch_size: Samples per batch and process.
        num_workers: Processes that load; 0 loads in the main one.
        pin_memory: Page-locked batches; `"auto"`: where the Trainer uses an accelerator.
    """

    CLASSES = SyntheticRooms.CLASSES

    def __init__(
        self,
        size: tuple[int, int] = (96, 128),
        train_length: int = 1024,
        val_length: int = 128,
        test_length: int = 128,
        seed: int = 0,
        tasks: Sequence[str] = ("segmentation", "depth", "normals"),
        batch_size: int = 16,
        num_workers: int = 0,
        pin_memory: bool | Literal["auto"] = "auto",
    ) -> None:
        super().__init__(batch_size, num_workers, pin_memory)
        self.size = size
        self.lengths: dict[Split, int] = {
            "train": train_length,
            "val": val_length,
            "test": test_length,
        }
        self.seed = seed
        self.tasks = tuple(tasks)

    def dataset(self, split: Split) -> SyntheticRooms:
        """Rooms with the split's length and seed."""
        check_split(split)
        splits = list(self.lengths)
        seed = len(splits) * self.seed + splits.index(split)
        return SyntheticRooms(self.lengths[split], size=self.size, seed=seed, tasks=self.tasks)


class MOSDDataModule(MultiTaskDataModule):
    """Real Kinect frames (`MOSD`): 45 to train, 62 to test.

    With `val_fraction=0` validation runs on the official test frames, as is usual for this size of
    data: choose nothing by it that you then report on them.

    Args:
        root: Folder of the data; by default the environment variable `LIGHTNING_MTL_MOSD`.
        size: Height and width.
        batch_size: Samples per batch and process.
        num_workers: Processes that load; 0 loads in the main one.
        val_fraction: Share of the training frames that is held out for validation.
        augment: Random flip and colours in training.
        tasks: Entries of a sample besides the image: segmentation, depth, normals, edges.
        cache: Keep the decoded frames in memory.
        pin_memory: Page-locked batches; `"auto"`: where the Trainer uses an accelerator.
    """

    CLASSES = MOSD.CLASSES

    def __init__(
        self,
        root: str | Path | None = None,
        size: tuple[int, int] = (120, 160),
        batch_size: int = 8,
        num_workers: int = 0,
        val_fraction: float = 0.0,
        augment: bool = True,
        tasks: Sequence[str] = ("segmentation", "depth", "normals"),
        cache: bool = True,
        pin_memory: bool | Literal["auto"] = "auto",
    ) -> None:
        super().__init__(batch_size, num_workers, pin_memory)
        self.root = root
        self.size = size
        self.val_fraction = val_fraction
        self.augment = augment
        self.tasks = tuple(tasks)
        self.cache = cache

    def dataset(self, split: Split) -> MOSD:
        """The frames of the split, augmented only for training."""
        transform = _augmentation() if self.augment and split == "train" else None
        return MOSD(
            self.root, split, self.size, self.tasks, transform, self.val_fraction, self.cache
        )


def _augmentation() -> Transform:
    """Only what keeps the camera: its distance to the table hardly varies, and depth depends on it.

    With a zoom by up to 1.3 and rotations by 5 degrees the relative depth error of the test frames
    doubles.
    """
    return Compose([RandomHorizontalFlip(), ColorJitter()])
