"""Data module of CelebA."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from lightning_mtl.data.augmentation.modalities import MODALITIES, Unplaced
from lightning_mtl.data.augmentation.transforms import RandomHorizontalFlip, Transform
from lightning_mtl.data.datamodule import MultiTaskDataModule
from lightning_mtl.data.datasets.celeba import ATTRIBUTES, CelebA
from lightning_mtl.data.reading.splits import Split


class CelebADataModule(MultiTaskDataModule):
    """Faces with 40 attributes (`CelebA`): 162770 to train, 19867 to validate, 19962 to test.

    Args:
        root: Folder of the data; by default the environment variable `LIGHTNING_MTL_CELEBA`.
        size: Height and width of the samples; `None` keeps those on disk.
        tasks: `"attributes"` (all 40 in one task), or names of attributes (one task each).
        augment: Random flip in training.
        batch_size: Samples per batch and process.
        num_workers: Processes that load; 0 loads in the main one.
        pin_memory: Page-locked batches; `"auto"`: where the Trainer uses an accelerator.
    """

    ATTRIBUTES = CelebA.ATTRIBUTES

    def __init__(
        self,
        root: str | Path | None = None,
        size: tuple[int, int] | None = (64, 64),
        tasks: Sequence[str] = ("attributes",),
        augment: bool = False,
        batch_size: int = 64,
        num_workers: int = 0,
        pin_memory: bool | Literal["auto"] = "auto",
    ) -> None:
        super().__init__(batch_size, num_workers, pin_memory)
        self.root = root
        self.size = size
        self.tasks = tuple(tasks)
        self.augment = augment

    def dataset(self, split: Split) -> CelebA:
        """The faces of the split, augmented only for training."""
        transform = _augmentation() if self.augment and split == "train" else None
        return CelebA(self.root, split, self.size, self.tasks, transform)


def _augmentation() -> Transform:
    attributes = dict.fromkeys(ATTRIBUTES, Unplaced())
    return RandomHorizontalFlip(modalities={**MODALITIES, **attributes})
