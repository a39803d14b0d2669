"""Data modules of Cityscapes in its two layouts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from lightning_mtl.data.augmentation.transforms import (
    Compose,
    RandomHorizontalFlip,
    RandomZoom,
    Transform,
)
from lightning_mtl.data.datamodule import MultiTaskDataModule
from lightning_mtl.data.datasets.cityscapes import Cityscapes
from lightning_mtl.data.datasets.mtan import CityscapesArrays
from lightning_mtl.data.reading.splits import Split


class CityscapesDataModule(MultiTaskDataModule):
    """The official folders of Cityscapes (`Cityscapes`): 2975 frames to train, 500 to validate.

    Tests run on the validation split, since labels of the test split are secret.

    Args:
        root: Folder of the data; by default the environment variable `LIGHTNING_MTL_CITYSCAPES`.
        num_classes: 19 or 7.
        size: Height and width of the samples; `None` keeps those on disk.
        tasks: Entries of a sample besides the image, among `Cityscapes.TASKS`.
        augment: Random flip and zoom (1 to 1.5, disparity multiplied by it) in training.
        batch_size: Samples per batch and process.
        num_workers: Processes that load; 0 loads in the main one.
        pin_memory: Page-locked batches; `"auto"`: where the Trainer uses an accelerator.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        num_classes: int = 19,
        size: tuple[int, int] | None = (256, 512),
        tasks: Sequence[str] = ("segmentation", "disparity"),
        augment: bool = True,
        batch_size: int = 8,
        num_workers: int = 0,
        pin_memory: bool | Literal["auto"] = "auto",
    ) -> None:
        super().__init__(batch_size, num_workers, pin_memory)
        self.root = root
        self.num_classes = num_classes
        self.size = size
        self.tasks = tuple(tasks)
        self.augment = augment

    def dataset(self, split: Split) -> Cityscapes:
        """The frames of the split, augmented only for training."""
        transform = _augmentation(self.augment and split == "train")
        return Cityscapes(self.root, split, self.num_classes, self.size, self.tasks, transform)


class CityscapesArraysDataModule(MultiTaskDataModule):
    """Cityscapes as arrays of MTAN and LibMTL (`CityscapesArrays`).

    There is no other validation split than the test split.

    Args:
        root: Folder of the data; by default the variable `LIGHTNING_MTL_CITYSCAPES_MTAN`.
        num_classes: 2, 7 or 19.
        label_folder: By default `label_<num_classes>`.
        size: Height and width of the samples; by default as on disk.
        tasks: Entries of a sample besides the image, among `CityscapesArrays.TASKS`.
        augment: Random flip and zoom (1 to 1.5, disparity multiplied by it) in training.
        batch_size: Samples per batch and process.
        num_workers: Processes that load; 0 loads in the main one.
        pin_memory: Page-locked batches; `"auto"`: where the Trainer uses an accelerator.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        num_classes: int = 7,
        label_folder: str | None = None,
        size: tuple[int, int] | None = None,
        tasks: Sequence[str] = ("segmentation", "disparity"),
        augment: bool = False,
        batch_size: int = 64,
        num_workers: int = 0,
        pin_memory: bool | Literal["auto"] = "auto",
    ) -> None:
        super().__init__(batch_size, num_workers, pin_memory)
        self.root = root
        self.num_classes = num_classes
        self.label_folder = label_folder
        self.size = size
        self.tasks = tuple(tasks)
        self.augment = augment

    def dataset(self, split: Split) -> CityscapesArrays:
        """The frames of the split, augmented only for training."""
        transform = _augmentation(self.augment and split == "train")
        return CityscapesArrays(
            self.root,
            split,
            self.num_classes,
            self.label_folder,
            self.size,
            self.tasks,
            transform,
        )


def _augmentation(augment: bool) -> Transform | None:
    return Compose([RandomHorizontalFlip(), RandomZoom((1.0, 1.5))]) if augment else None
