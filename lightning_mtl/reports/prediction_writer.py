"""The callback that writes predictions to disk."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import BasePredictionWriter
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torchvision.utils import save_image

from lightning_mtl.dense_prediction import DensePrediction

FOLDER = "predictions"


class PredictionWriter(BasePredictionWriter):
    """Writes what the network predicts for every sample, batch by batch, so that nothing piles up.

    Sample `n` of the data set gives `predictions/<n>.npz` in the folder of the log, or else in the
    Trainer's `default_root_dir`. It has one float32 array for each task, the raw output (C, H, W):
    the class is the argmax over C (segmentation), the probability the sigmoid (edges, saliency),
    the normal the vector divided by its length, and depth the value itself, in metres. With a
    `DensePrediction`, `<n>_<task>.png` beside it is a picture of that for each task. Several data
    loaders have a folder each, `predictions/loader_<k>`.

    Args:
        pictures: whether to draw the pictures.
    """

    def __init__(self, pictures: bool = True) -> None:
        super().__init__(write_interval="batch")
        self.pictures = pictures
        self._folder = Path()
        self._written = 0

    def write_on_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write the predictions of one batch, called after each batch.

        Raises:
            TypeError: if the module predicts anything but a dict of tensors, one per task.
        """
        if not isinstance(prediction, Mapping) or not all(
            isinstance(values, Tensor) for values in prediction.values()
        ):
            raise TypeError(
                f"`{type(pl_module).__name__}.predict_step` should return a dict of tensors, one"
                f" for each task, for `PredictionWriter`. Found {type(prediction).__name__}."
            )
        several = len(trainer.num_predict_batches) > 1
        folder = self._folder / f"loader_{dataloader_idx}" if several else self._folder
        folder.mkdir(parents=True, exist_ok=True)
        names = _names(trainer, batch_indices, batch_idx, len(next(iter(prediction.values()), ())))
        arrays = {task: values.float().cpu().numpy() for task, values in prediction.items()}
        for place, name in enumerate(names):
            np.savez(
                folder / f"{name}.npz",
                allow_pickle=False,
                **{task: values[place] for task, values in arrays.items()},
            )
        if self.pictures and isinstance(pl_module, DensePrediction):
            for task, values in prediction.items():
                drawn = pl_module.tasks[task].draw(values.float()).cpu()
                for name, picture in zip(names, drawn, strict=True):
                    save_image(picture, folder / f"{name}_{task}.png")
        self._written += len(names)

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Choose the folder, called before the first batch."""
        # The Trainer asks the other ranks for it, so all of them come here.
        self._folder = Path(trainer.log_dir or trainer.default_root_dir) / FOLDER
        self._written = 0

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log how many samples were written and where, called after the last batch."""
        rank_zero_info(
            f"PredictionWriter: wrote {self._written} samples of this rank to `{self._folder}`, raw"
            " outputs as .npz"
        )


def _names(trainer: L.Trainer, indices: Sequence[int] | None, batch: int, size: int) -> list[str]:
    """File names: the indices of the samples, or else their places in the batches of the rank."""
    if indices is not None and len(indices) == size:
        return [f"{index:06d}" for index in indices]
    return [f"rank{trainer.global_rank}_batch{batch:06d}_{place:03d}" for place in range(size)]
