"""Pictures of what the network sees, should see and says."""

from pathlib import Path
from typing import Any

import lightning as L
import torch
from jaxtyping import Float
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2.functional import pil_to_tensor, to_dtype
from torchvision.utils import make_grid, save_image

from lightning_mtl.dense_prediction import DensePrediction

PADDING = 2
TITLE_HEIGHT = 24


class PredictionGrid(L.Callback):
    """Draws a grid every few epochs: one row a frame; input, then target and prediction per task.

    Saved as `pictures/epoch_<n>.png` in the folder of the log, beside the checkpoints, and sent to
    the TensorBoard logger if there is one.

    Args:
        every_n_epochs: how often; the last epoch is always drawn.
        frames: how many frames of the first validation batch.
    """

    def __init__(self, every_n_epochs: int = 10, frames: int = 4) -> None:
        self.every_n_epochs = every_n_epochs
        self.frames = frames

    def on_validation_batch_end(  # noqa: D102
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: dict[str, Tensor],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if batch_idx or dataloader_idx or not self._due(trainer):
            return
        if not isinstance(pl_module, DensePrediction):
            raise TypeError(
                "`PredictionGrid` needs a `DensePrediction`, whose tasks know how to draw. Found"
                f" `{type(pl_module).__name__}`."
            )
        # The Trainer asks the other ranks for the folder: all of them come here.
        folder = Path(trainer.log_dir or trainer.default_root_dir) / "pictures"
        if not trainer.is_global_zero:
            return
        picture = draw(pl_module, {key: value[: self.frames] for key, value in batch.items()})
        epoch = trainer.current_epoch + 1
        folder.mkdir(parents=True, exist_ok=True)
        save_image(picture, folder / f"epoch_{epoch:03d}.png")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("val/predictions", picture, trainer.global_step)

    def _due(self, trainer: L.Trainer) -> bool:
        if trainer.sanity_checking:
            return False
        epoch = trainer.current_epoch + 1
        return epoch % self.every_n_epochs == 0 or epoch == trainer.max_epochs


def draw(module: DensePrediction, batch: dict[str, Tensor]) -> Float[Tensor, "3 height width"]:
    """The grid for one batch, RGB in [0, 1], with a line of titles."""
    with torch.no_grad():
        predictions = module(batch["image"])
    image = batch["image"].float().clamp(0, 1)
    columns = {"input": image}
    for name, task in module.tasks.items():
        if name in batch:
            columns[f"{name}: target"] = task.draw_target(batch[name])
            columns[f"{name}: predicted"] = task.draw(predictions[name].float(), batch[name])
    size = image.shape[-2:]
    cells = [F.interpolate(column.to(image), size) for column in columns.values()]
    frames = torch.stack(cells, dim=1).flatten(0, 1).cpu()
    grid = make_grid(frames, nrow=len(columns), padding=PADDING, pad_value=1.0)
    return torch.cat([_titles(list(columns), grid.shape[-1], size[1] + PADDING), grid], dim=1)


def _titles(names: list[str], width: int, step: int) -> Float[Tensor, "3 height width"]:
    """The names above their columns, on two lines, black on white."""
    strip = Image.new("RGB", (width, TITLE_HEIGHT), "white")
    pen = ImageDraw.Draw(strip)
    for index, name in enumerate(names):
        pen.text((index * step + PADDING, 1), name.replace(": ", "\n"), "black", spacing=0)
    return to_dtype(pil_to_tensor(strip), torch.float32, scale=True)
