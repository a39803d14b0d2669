"""Pictures of what the network sees, should see and says."""

from math import ceil
from pathlib import Path
from typing import Any

import lightning as L
import torch
from jaxtyping import Float
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2.functional import pil_to_tensor, to_dtype
from torchvision.utils import make_grid, save_image

from lightning_mtl.dense_prediction import DensePrediction
from lightning_mtl.reports.captions import legend, prediction_words, target_words, written

PADDING = 2
SMALLEST_WIDTH = 96
FONT_SIZES = range(32, 7, -1)


class PredictionGrid(L.Callback):
    """Draws a grid every few epochs: one row a frame; input, then target and prediction per task.

    Saved as `pictures/epoch_<n>.png` in the folder of the log, beside the checkpoints, and sent to
    the TensorBoard logger if there is one. A target of depth has the range of its colours in metres
    written on it, what is predicted for an image as a whole stands there as text, and classes have
    a legend.

    Args:
        every_n_epochs: how often, at least 1; the end of training is always drawn, whatever ended
            it.
        frames: how many frames of the first validation batch, at least 1.

    Raises:
        ValueError: if one of them is less than 1.
    """

    def __init__(self, every_n_epochs: int = 10, frames: int = 4) -> None:
        for name, value in (("every_n_epochs", every_n_epochs), ("frames", frames)):
            if value < 1:
                raise ValueError(
                    f"`PredictionGrid({name}=)` should be at least 1. Found {value}. Leave the"
                    " callback out to draw nothing."
                )
        self.every_n_epochs = every_n_epochs
        self.frames = frames
        self._batch: dict[str, Any] = {}
        self._epoch = 0
        self._drawn_step = -1

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Raise unless the module knows how to draw.

        Raises:
            TypeError: if it is no `DensePrediction`.
        """
        if not isinstance(pl_module, DensePrediction):
            raise TypeError(
                "`PredictionGrid` needs a `DensePrediction`, whose tasks know how to draw. Found"
                f" `{type(pl_module).__name__}`."
            )

    def on_train_epoch_start(  # noqa: D102
        self, trainer: L.Trainer, pl_module: L.LightningModule
    ) -> None:
        self._epoch = trainer.current_epoch + 1

    def on_validation_batch_end(  # noqa: D102
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if batch_idx or dataloader_idx:
            return
        self._batch = {key: _first(value, self.frames) for key, value in batch.items()}
        if not trainer.sanity_checking and (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._save(trainer, pl_module, trainer.current_epoch + 1)

    def on_train_end(  # noqa: D102
        self, trainer: L.Trainer, pl_module: L.LightningModule
    ) -> None:
        # Early stopping and `max_steps` end a run that expected more epochs, even between
        # validations: so the frames are those of the last one, and the network is that of the end.
        if self._batch and self._drawn_step != trainer.global_step:
            self._save(trainer, pl_module, self._epoch)
        self._batch = {}

    def _save(self, trainer: L.Trainer, pl_module: L.LightningModule, epoch: int) -> None:
        # The Trainer asks the other ranks for the folder: all of them come here.
        folder = Path(trainer.log_dir or trainer.default_root_dir) / "pictures"
        self._drawn_step = trainer.global_step
        if not trainer.is_global_zero or not isinstance(pl_module, DensePrediction):
            return
        picture = draw(pl_module, self._batch)
        folder.mkdir(parents=True, exist_ok=True)
        save_image(picture, folder / f"epoch_{epoch:03d}.png")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("val/predictions", picture, trainer.global_step)


def draw(module: DensePrediction, batch: dict[str, Any]) -> Float[Tensor, "3 height width"]:
    """The grid for one batch, RGB in [0, 1], with titles above and a legend of classes below.

    The module draws in evaluation mode and is left in the mode that it was in. Small images are
    drawn larger, pixel by pixel, so that the titles fit above them.
    """
    predictions = _predictions(module, batch["image"])
    image = batch["image"].float().clamp(0, 1)
    height, width = image.shape[-2:]
    times = ceil(SMALLEST_WIDTH / width)
    size = (times * height, times * width)
    columns = {"input": F.interpolate(image, size)}
    for name, task in module.tasks.items():
        if name in batch:
            target, prediction = batch[name], predictions[name].float()
            seen = F.interpolate(task.draw_target(target).to(image), size)
            said = F.interpolate(task.draw(prediction, target).to(image), size)
            columns[f"{name}: target"] = written(seen, target_words(task, target))
            columns[f"{name}: predicted"] = written(said, prediction_words(task, prediction))
    cells = list(columns.values())
    frames = torch.stack(cells, dim=1).flatten(0, 1).cpu()
    grid = make_grid(frames, nrow=len(columns), padding=PADDING, pad_value=1.0)
    titles = _titles(list(columns), grid.shape[-1], size[1] + PADDING)
    drawn = {name: task for name, task in module.tasks.items() if name in batch}
    return torch.cat([titles, grid, legend(drawn, grid.shape[-1])], dim=1)


def _predictions(module: DensePrediction, image: Tensor) -> dict[str, Tensor]:
    modes = {part: part.training for part in module.modules()}
    module.eval()
    with torch.no_grad():
        predictions = module(image)
    for part, training in modes.items():
        part.training = training
    return predictions


def _first(value: Any, count: int) -> Any:
    """A copy of the first entries, so that the batch itself can be freed."""
    return value[:count].clone() if isinstance(value, Tensor) else value[:count]


def _titles(names: list[str], width: int, step: int) -> Float[Tensor, "3 height width"]:
    """The names above their columns, on two lines, black on white, as large as fits."""
    texts = [name.replace(": ", "\n") for name in names]
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    font = ImageFont.load_default(FONT_SIZES[-1])
    for size in FONT_SIZES:
        font = ImageFont.load_default(size)
        if max(pen.textbbox((0, 0), text, font)[2] for text in texts) <= step - 2 * PADDING:
            break
    height = ceil(max(pen.textbbox((0, 0), text, font)[3] for text in texts)) + 2 * PADDING
    strip = Image.new("RGB", (width, height), "white")
    for index, text in enumerate(texts):
        # A cell of its own cuts what does not fit even in the smallest letters.
        cell = Image.new("RGB", (step - PADDING, height), "white")
        ImageDraw.Draw(cell).text((0, PADDING), text, "black", font)
        strip.paste(cell, (index * step + PADDING, 0))
    return to_dtype(pil_to_tensor(strip), torch.float32, scale=True)
