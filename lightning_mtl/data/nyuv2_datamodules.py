"""Data modules of NYUv2 in its three layouts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from torch.utils.data import ConcatDataset, Dataset

from lightning_mtl.data.augmentation.transforms import (
    Compose,
    RandomHorizontalFlip,
    RandomZoom,
    Sample,
    Transform,
)
from lightning_mtl.data.datamodule import MultiTaskDataModule
from lightning_mtl.data.datasets.mtan import NYUv2Arrays
from lightning_mtl.data.datasets.nyud import NYUDMT
from lightning_mtl.data.datasets.nyuv2 import NYUv2
from lightning_mtl.data.datasets.nyuv2_frames import NYUv2Frames
from lightning_mtl.data.reading.normal_axes import NormalAxes
from lightning_mtl.data.reading.splits import Split


class NYUv2DataModule(MultiTaskDataModule):
    """The official file of NYUv2 (`NYUv2`): 795 frames to train, 654 to validate and test.

    There is no other validation split: choose nothing by it that you then report on it.

    Args:
        root: Folder of the data; by default the environment variable `LIGHTNING_MTL_NYUV2`.
        num_classes: 40 or 13.
        size: Height and width of the samples; by default as on disk.
        tasks: Entries of a sample besides the image, among `NYUv2.TASKS`.
        raw_depth: Depths as measured, with holes.
        normals: Folder of normals as pictures; by default they are computed from the depth.
        extra_root: Folder of more training frames with fewer labels (`NYUv2Frames`).
        extra_tasks: Labels that the extra frames have; some of `tasks`.
        augment: Random flip and zoom (1 to 1.5, depth divided by it) in training.
        batch_size: Samples per batch and process.
        num_workers: Processes that load; 0 loads in the main one.
        pin_memory: Page-locked batches; `"auto"`: where the Trainer uses an accelerator.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        num_classes: int = 40,
        size: tuple[int, int] | None = None,
        tasks: Sequence[str] = ("segmentation", "depth", "normals"),
        raw_depth: bool = False,
        normals: str | Path | None = None,
        extra_root: str | Path | None = None,
        extra_tasks: Sequence[str] = ("depth", "normals"),
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
        self.raw_depth = raw_depth
        self.normals = normals
        self.extra_root = extra_root
        self.extra_tasks = tuple(extra_tasks)
        self.augment = augment

    def dataset(self, split: Split) -> Dataset[Sample]:
        """The frames of the split; in training augmented and with the extra ones."""
        transform = _augmentation(self.augment and split == "train")
        official = NYUv2(
            self.root,
            split,
            self.num_classes,
            self.size,
            self.tasks,
            self.raw_depth,
            self.normals,
            transform,
        )
        if split != "train" or self.extra_root is None:
            return official
        extra = NYUv2Frames(
            self.extra_root, self.num_classes, self.size, self.extra_tasks, transform
        )
        return ConcatDataset([official, extra])


class NYUv2ArraysDataModule(MultiTaskDataModule):
    """NYUv2 as arrays of MTAN and LibMTL (`NYUv2Arrays`): 288 x 384, 13 classes.

    There is no other validation split than the test split.

    Args:
        root: Folder of the data; by default the environment variable `LIGHTNING_MTL_NYUV2_MTAN`.
        size: Height and width of the samples; by default as on disk.
        tasks: Entries of a sample besides the image, among `NYUv2Arrays.TASKS`.
        normal_axes: What the channels of the normals point at.
        extra_root: Folder of more training frames with fewer labels, in the same layout.
        extra_tasks: Labels that the extra frames have; some of `tasks`.
        augment: Random flip and zoom (1 to 1.5, depth divided by it) in training.
        batch_size: Samples per batch and process.
        num_workers: Processes that load; 0 loads in the main one.
        pin_memory: Page-locked batches; `"auto"`: where the Trainer uses an accelerator.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        size: tuple[int, int] | None = None,
        tasks: Sequence[str] = ("segmentation", "depth", "normals"),
        normal_axes: NormalAxes = "right_forward_up",
        extra_root: str | Path | None = None,
        extra_tasks: Sequence[str] = ("depth", "normals"),
        augment: bool = True,
        batch_size: int = 8,
        num_workers: int = 0,
        pin_memory: bool | Literal["auto"] = "auto",
    ) -> None:
        super().__init__(batch_size, num_workers, pin_memory)
        self.root = root
        self.size = size
        self.tasks = tuple(tasks)
        self.normal_axes = normal_axes
        self.extra_root = extra_root
        self.extra_tasks = tuple(extra_tasks)
        self.augment = augment

    def dataset(self, split: Split) -> Dataset[Sample]:
        """The frames of the split; in training augmented and with the extra ones."""
        transform = _augmentation(self.augment and split == "train")
        labelled = NYUv2Arrays(self.root, split, self.size, self.tasks, self.normal_axes, transform)
        if split != "train" or self.extra_root is None:
            return labelled
        extra = NYUv2Arrays(
            self.extra_root, split, self.size, self.extra_tasks, self.normal_axes, transform
        )
        return ConcatDataset([labelled, extra])


class NYUDMTDataModule(MultiTaskDataModule):
    """NYUv2 in the layout of the survey (`NYUDMT`): 480 x 640, 40 classes.

    There is no other validation split than the test split.

    Args:
        root: Folder of the data; by default the environment variable `LIGHTNING_MTL_NYUD_MT`.
        num_classes: 40 or 13.
        size: Height and width of the samples; by default as on disk.
        tasks: Entries of a sample besides the image, among `NYUDMT.TASKS`.
        normal_axes: What the channels of the normals point at.
        augment: Random flip and zoom (1 to 1.5, depth divided by it) in training.
        batch_size: Samples per batch and process.
        num_workers: Processes that load; 0 loads in the main one.
        pin_memory: Page-locked batches; `"auto"`: where the Trainer uses an accelerator.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        num_classes: int = 40,
        size: tuple[int, int] | None = None,
        tasks: Sequence[str] = ("segmentation", "depth"),
        normal_axes: NormalAxes = "right_down_forward",
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
        self.normal_axes = normal_axes
        self.augment = augment

    def dataset(self, split: Split) -> NYUDMT:
        """The frames of the split, augmented only for training."""
        transform = _augmentation(self.augment and split == "train")
        return NYUDMT(
            self.root, split, self.num_classes, self.size, self.tasks, self.normal_axes, transform
        )


def _augmentation(augment: bool) -> Transform | None:
    return Compose([RandomHorizontalFlip(), RandomZoom((1.0, 1.5))]) if augment else None
