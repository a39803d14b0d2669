"""Data module of PASCAL-Context."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from lightning_mtl.data.augmentation.transforms import (
    Compose,
    RandomHorizontalFlip,
    RandomRotation,
    RandomZoom,
    Transform,
)
from lightning_mtl.data.datamodule import MultiTaskDataModule
from lightning_mtl.data.datasets.pascal import PASCALContext
from lightning_mtl.data.reading.normal_axes import NormalAxes
from lightning_mtl.data.reading.splits import Split


class PASCALContextDataModule(MultiTaskDataModule):
    """PASCAL-Context with five tasks (`PASCALContext`): 4998 images to train, 5105 to validate.

    There is no other validation split than the test split.

    Args:
        root: Folder of the data; by default the environment variable `LIGHTNING_MTL_PASCAL_MT`.
        size: Height and width of the samples; `None` keeps those on disk.
        tasks: Entries of a sample besides the image, among `PASCALContext.TASKS`.
        normal_axes: What the channels of the normals point at.
        augment: Random flip, rotation (20 degrees) and zoom (0.75 to 1.25) in training; what is
            uncovered is ignored.
        batch_size: Samples per batch and process.
        num_workers: Processes that load; 0 loads in the main one.
        pin_memory: Page-locked batches; `"auto"`: where the Trainer uses an accelerator.
    """

    CLASSES = PASCALContext.CLASSES
    PARTS = PASCALContext.PARTS

    def __init__(
        self,
        root: str | Path | None = None,
        size: tuple[int, int] | None = (512, 512),
        tasks: Sequence[str] = ("segmentation", "human_parts", "saliency", "edges", "normals"),
        normal_axes: NormalAxes = "right_down_forward",
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
        self.augment = augment

    def dataset(self, split: Split) -> PASCALContext:
        """The images of the split, augmented only for training."""
        transform = _augmentation() if self.augment and split == "train" else None
        return PASCALContext(self.root, split, self.size, self.tasks, self.normal_axes, transform)


def _augmentation() -> Transform:
    return Compose([RandomHorizontalFlip(), RandomRotation(20.0), RandomZoom((0.75, 1.25))])
