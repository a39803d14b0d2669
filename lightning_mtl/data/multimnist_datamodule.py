"""Data module of MultiMNIST."""

from pathlib import Path
from typing import Literal

from lightning_mtl.data.datamodule import MultiTaskDataModule
from lightning_mtl.data.datasets.multimnist import Digits, MultiMNIST
from lightning_mtl.data.reading.splits import Split


class MultiMNISTDataModule(MultiTaskDataModule):
    """Two overlapping digits (`MultiMNIST`); no digit occurs in two splits.

    Args:
        root: Folder of the data; by default the environment variable `LIGHTNING_MTL_MNIST`.
        digits: Which files: `"official"` (50000, 10000, 10000 digits) or `"t10k"` (8000, 1000,
            1000).
        length: Number of training pictures; by default one per digit, as for the other splits.
        size: 36, the canvas, or 28, as published.
        seed: Of the pairs.
        batch_size: Samples per batch and process.
        num_workers: Processes that load; 0 loads in the main one.
        pin_memory: Page-locked batches; `"auto"`: where the Trainer uses an accelerator.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        digits: Digits = "official",
        length: int | None = None,
        size: Literal[28, 36] = 36,
        seed: int = 0,
        batch_size: int = 256,
        num_workers: int = 0,
        pin_memory: bool | Literal["auto"] = "auto",
    ) -> None:
        super().__init__(batch_size, num_workers, pin_memory)
        self.root = root
        self.digits = digits
        self.length = length
        self.size = size
        self.seed = seed

    def dataset(self, split: Split) -> MultiMNIST:
        """The pictures of the split."""
        length = self.length if split == "train" else None
        return MultiMNIST(self.root, split, self.digits, length, self.size, self.seed)
