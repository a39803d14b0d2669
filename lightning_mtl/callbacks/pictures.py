"""Pictures of what the network sees, should see and says."""

from pathlib import Path
from typing import Any

import lightning as L
import torch
from jaxtyping import Float
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torchvision.utils import make_grid, save_image

from lightning_mtl.dense_prediction import DensePrediction


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

    @rank_zero_only
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
        picture = draw(pl_module, {key: value[: self.frames] for key, value in batch.items()})
        epoch = trainer.current_epoch + 1
        folder = Path(trainer.log_dir or trainer.default_root_dir) / "pictures"
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
    """The grid for one batch, RGB in [0, 1]."""
    with torch.no_grad():
        predictions = module(batch["image"])
    columns = [batch["image"].float().clamp(0, 1)]
    for name, task in module.tasks.items():
        if name in batch:
            columns.append(task.draw_target(batch[name]).to(columns[0]))
            columns.append(task.draw(predictions[name].float(), batch[name]).to(columns[0]))
    frames = torch.stack(columns, dim=1).flatten(0, 1).cpu()
    return make_grid(frames, nrow=len(columns), padding=2, pad_value=1.0)
