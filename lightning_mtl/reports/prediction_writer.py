"""The callback that writes predictions to disk."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import lightning as L
import numpy as np
import torch
from jaxtyping import Float
from lightning.pytorch.callbacks import BasePredictionWriter
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torch.nn import functional as F
from torchvision.utils import save_image

from lightning_mtl.data.photos import Photos
from lightning_mtl.dense_prediction import DensePrediction
from lightning_mtl.distributed import sum_over_ranks
from lightning_mtl.engine.terminal import logs_above_bars
from lightning_mtl.reports.prediction_panel import prediction_panel

__all__ = ["PredictionWriter"]

FOLDER = "predictions"


class PredictionWriter(BasePredictionWriter):
    """Writes what the network predicts for every sample, batch by batch, so that nothing piles up.

    For each task of a `DensePrediction` there is a file that other programs open, which the task
    writes (`Task.write`): class numbers with a palette, depths in millimetres, normals as colours.
    Its size is that of the image, `image_size` of the batch, or else that of the prediction. Its
    name is that of the image, `image_name` of the batch: `a/b.jpg` gives `a/b_depth.png`, and
    `a/b.jpg_depth.png` where there is an `a/b.png` too. Samples without a name have their index in
    the data set, as in `000002_depth.png`. `<name>_panel.png` shows the image and all of them.

    Other modules have one file for each sample, `<name>.npz`, with an array for each task. Several
    data loaders have a folder each, `loader_<k>`.

    Args:
        raw: whether to write `<name>.npz` for a `DensePrediction` too: for each task the prediction
            as float32 `(C, H, W)`, at the size that the network was given.
        panel: whether to draw the panels; only inputs that are images have them.
        folder: where to; by default `predictions` in the folder of the log, or else in the
            Trainer's `default_root_dir`.
    """

    def __init__(
        self, raw: bool = False, panel: bool = True, folder: str | Path | None = None
    ) -> None:
        super().__init__(write_interval="batch")
        self.raw = raw
        self.panel = panel
        self.folder = folder
        self._root = Path()
        self._owners: dict[tuple[int, str], str] = {}
        self._written = Counter[str]()

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Choose the folder, called before the first batch."""
        # The Trainer asks the other ranks for it, so all of them come here.
        logged = Path(trainer.log_dir or trainer.default_root_dir) / FOLDER
        self._root = logged if self.folder is None else Path(self.folder)
        self._owners = _shared_names(trainer.predict_dataloaders)
        self._written = Counter(samples=0, files=0)

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
            ValueError: if an `image_name` leads out of the folder.
        """
        if not isinstance(prediction, Mapping) or not all(
            isinstance(values, Tensor) for values in prediction.values()
        ):
            raise TypeError(
                f"`{type(pl_module).__name__}.predict_step` should return a dict of tensors, one"
                f" for each task, for `PredictionWriter`. Found {type(prediction).__name__}."
            )
        several = len(trainer.num_predict_batches) > 1
        folder = self._root / f"loader_{dataloader_idx}" if several else self._root
        count = len(next(iter(prediction.values()), ()))
        facts = batch if isinstance(batch, Mapping) else {}
        if "image_name" in facts:
            names = [self._short(dataloader_idx, name) for name in facts["image_name"]]
        else:
            names = _numbered(trainer, batch_indices, batch_idx, count)
        sizes = facts.get("image_size", [None] * count)
        for place, (name, size) in enumerate(zip(names, sizes, strict=True)):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            one = {task: values[place].float().cpu() for task, values in prediction.items()}
            self._written += Counter(samples=1)
            if self.raw or not isinstance(pl_module, DensePrediction):
                self._write_raw(path, one)
            if isinstance(pl_module, DensePrediction):
                self._write_tasks(path, pl_module, one, size)
                image = facts[pl_module.input][place]
                if self.panel and image.ndim == 3:
                    self._write_panel(path, pl_module, one, image.float().cpu())

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log how many samples and files were written and where, called after the last batch."""
        counts = [self._written["samples"], self._written["files"]]
        samples, files = sum_over_ranks(
            torch.tensor(counts, device=trainer.strategy.root_device)
        ).tolist()
        # The bar of the prediction is still there.
        with logs_above_bars(trainer):
            rank_zero_info(
                f"PredictionWriter: wrote {files} files for {samples} samples to `{self._root}`"
            )

    def _short(self, loader: int, name: str) -> str:
        """The name of an image without its suffix, unless another image has that one."""
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(
                "Each `image_name` of a batch should be the path of an image within its folder."
                f" Found {name!r}. Make it relative to that folder."
            )
        stem = path.with_suffix("").as_posix()
        return stem if self._owners.setdefault((loader, stem), name) == name else name

    def _write_raw(self, path: Path, predictions: Mapping[str, Tensor]) -> None:
        arrays: dict[str, Any] = {task: values.numpy() for task, values in predictions.items()}
        np.savez(path.with_name(f"{path.name}.npz"), **arrays)
        self._written += Counter(files=1)

    def _write_tasks(
        self,
        path: Path,
        module: DensePrediction,
        predictions: Mapping[str, Tensor],
        size: Sequence[int] | None,
    ) -> None:
        for name, task in module.tasks.items():
            prediction = predictions[name]
            if size is not None:
                prediction = _resized(prediction, size)
            task.write(prediction, path.with_name(f"{path.name}_{name}"))
            self._written += Counter(files=1)

    def _write_panel(
        self,
        path: Path,
        module: DensePrediction,
        predictions: Mapping[str, Tensor],
        image: Tensor,
    ) -> None:
        panel = prediction_panel(image, list(module.tasks.values()), predictions)
        save_image(panel, path.with_name(f"{path.name}_panel.png"))
        self._written += Counter(files=1)


def _resized(prediction: Tensor, size: Sequence[int]) -> Float[Tensor, "C height width"]:
    """A map at the size of the image; facts about the whole image as they are."""
    sides = [int(side) for side in size]
    if prediction.ndim != 3 or list(prediction.shape[1:]) == sides:
        return prediction
    return F.interpolate(prediction[None], sides, mode="bilinear", align_corners=False)[0]


def _shared_names(loaders: Any) -> dict[tuple[int, str], str]:
    """The loaders and names without suffix that several photos have: none of them gets it.

    They are known before the first batch, so that all ranks agree.
    """
    shared: dict[tuple[int, str], str] = {}
    for place, loader in enumerate(loaders if isinstance(loaders, list) else [loaders]):
        photos = getattr(loader, "dataset", None)
        if isinstance(photos, Photos):
            stems = Counter(PurePosixPath(name).with_suffix("").as_posix() for name in photos.names)
            shared |= {(place, stem): "" for stem, count in stems.items() if count > 1}
    return shared


def _numbered(
    trainer: L.Trainer, indices: Sequence[int] | None, batch: int, size: int
) -> list[str]:
    """File names: the indices of the samples, or else their places in the batches of the rank."""
    if indices is not None and len(indices) == size:
        return [f"{index:06d}" for index in indices]
    return [f"rank{trainer.global_rank}_batch{batch:06d}_{place:03d}" for place in range(size)]
