"""Data module of BSDS500."""

from pathlib import Path
from typing import Literal

from lightning_mtl.data.augmentation.transforms import RandomHorizontalFlip
from lightning_mtl.data.datamodule import MultiTaskDataModule
from lightning_mtl.data.datasets.bsds import BSDS500
from lightning_mtl.data.reading.splits import Split


class BSDS500DataModule(MultiTaskDataModule):
    """Contours of natural images (`BSDS500`): 200 to train, 100 to validate, 200 to test.

    Batches for validation and test also have `annotators`, a list of one tensor per image.

    Args:
        root: Folder of the data; by default the environment variable `LIGHTNING_MTL_BSDS500`.
        size: Height and width of the samples; by default as on disk.
        agreement: Share of the annotators above which a pixel is an edge in training.
        augment: Random flip in training.
        batch_size: Samples per batch and process.
        num_workers: Processes that load; 0 loads in the main one.
        pin_memory: Page-locked batches; `"auto"`: where the Trainer uses an accelerator.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        size: tuple[int, int] | None = None,
        agreement: float = 0.5,
        augment: bool = True,
        batch_size: int = 8,
        num_workers: int = 0,
        pin_memory: bool | Literal["auto"] = "auto",
    ) -> None:
        super().__init__(batch_size, num_workers, pin_memory)
        self.root = root
        self.size = size
        self.agreement = agreement
        self.augment = augment

    def dataset(self, split: Split) -> BSDS500:
        """The images of the split, augmented only for training."""
        training = split == "train"
        transform = RandomHorizontalFlip() if self.augment and training else None
        return BSDS500(
            self.root,
            split,
            self.size,
            self.agreement,
            annotators=not training,
            transform=transform,
        )
