"""The callback that draws inputs, targets and predictions during training."""

from pathlib import Path
from textwrap import fill
from typing import Any

import lightning as L
import torch
from jaxtyping import Float
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_warn
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.utils import save_image

from lightning_mtl.checks import check_number
from lightning_mtl.dense_prediction import DensePrediction
from lightning_mtl.reports.grid_figure import TASKS, Column, grid_figure, rgb, stacked
from lightning_mtl.tasks import Task

TITLE = 30
"""Characters in a line of a title, which is two columns wide."""


class PredictionGrid(L.Callback):
    """Draws a grid every few epochs: a row per frame; input, then target and prediction per task.

    Saved as `pictures/epoch_<n>.png` in the folder of the log, beside the checkpoints, and sent to
    the TensorBoard logger if there is one. Tasks caption their pictures by `Task.words` and
    `Task.target_words`, such as the range of depths in metres or the class of an image; the legend
    below is `Task.palette`.

    Args:
        every_n_epochs: how often, at least 1; the end of training is always drawn, whatever ended
            it, an interruption or an error too.
        frames: how many frames of the first validation batch, at least 1.

    Raises:
        ValueError: if one of them is less than 1.
    """

    def __init__(self, every_n_epochs: int = 10, frames: int = 4) -> None:
        for name, value in (("every_n_epochs", every_n_epochs), ("frames", frames)):
            remedy = "Leave the callback out to draw nothing."
            check_number("PredictionGrid", name, value, 1, remedy=remedy)
        self.every_n_epochs = every_n_epochs
        self.frames = frames
        self._batch: dict[str, Any] = {}
        self._epoch = 0
        self._drawn_step = -1
        self._folder: Path | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Raise unless the module knows how to draw, and ask for the folder.

        Raises:
            TypeError: if it is no `DensePrediction`.
        """
        if not isinstance(pl_module, DensePrediction):
            raise TypeError(
                "`PredictionGrid` needs a `DensePrediction`, whose tasks know how to draw. Found"
                f" `{type(pl_module).__name__}`."
            )
        # The Trainer asks the other ranks. All of them are here; where one fails, they are not.
        self._folder = Path(trainer.log_dir or trainer.default_root_dir) / "pictures"
        self._epoch = 0

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

    def on_exception(  # noqa: D102
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        if not self._epoch:
            return
        try:
            self.on_train_end(trainer, pl_module)
        except Exception as error:  # noqa: BLE001
            # What ended the run may have broken the network: it is the error to be reported, and
            # the other callbacks have work to do after this one.
            rank_zero_warn(f"`PredictionGrid` could not draw the end of the run: {error}")

    def _save(self, trainer: L.Trainer, pl_module: L.LightningModule, epoch: int) -> None:
        self._drawn_step = trainer.global_step
        if not trainer.is_global_zero or not isinstance(pl_module, DensePrediction):
            return
        assert self._folder is not None
        picture = draw(pl_module, self._batch)
        self._folder.mkdir(parents=True, exist_ok=True)
        save_image(picture, self._folder / f"epoch_{epoch:03d}.png")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("val/predictions", picture, trainer.global_step)


def draw(module: DensePrediction, batch: dict[str, Any]) -> Float[Tensor, "3 height width"]:
    """The grid for one batch, RGB in [0, 1].

    The module draws in evaluation mode and is left in the mode that it was in.
    """
    return stacked(figures(module, batch))


def _rgb(image: Tensor) -> Float[Tensor, "N 3 H W"]:
    """The first three channels of images, or the first one as grey.

    Raises:
        ValueError: if these are no images.
    """
    if image.ndim != 4:
        raise ValueError(
            "`PredictionGrid` should be given images, of shape (N, channels, H, W). Found an input"
            f" of shape {tuple(image.shape)}. Leave the callback out for other inputs."
        )
    return rgb(image)


def figures(module: DensePrediction, batch: dict[str, Any]) -> list[Figure]:
    """The figures to draw below each other, each with the input and up to six tasks."""
    predictions = _predictions(module, batch[module.input])
    image = _rgb(batch[module.input])
    size = (image.shape[-2], image.shape[-1])
    first = Column("input", image, [""] * len(image))
    tasks = [task for name, task in module.tasks.items() if name in batch]
    return [
        grid_figure(
            [
                first,
                *(
                    column
                    for task in tasks[start : start + TASKS]
                    for column in _columns(task, predictions[task.name].float(), batch[task.name])
                ),
            ],
            size,
        )
        for start in range(0, max(1, len(tasks)), TASKS)
    ]


def _columns(task: Task, prediction: Tensor, target: Tensor) -> tuple[Column, Column]:
    """The targets and, in the same colours, the predictions of a task."""
    title = f"{fill(task.name, TITLE)}\n"
    return (
        Column(f"{title}target", task.draw_target(target), task.target_words(target), task.palette),
        Column("predicted", task.draw(prediction, target), task.words(prediction)),
    )


def _predictions(module: DensePrediction, image: Tensor) -> dict[str, Tensor]:
    modes = {part: part.training for part in module.modules()}
    module.eval()
    with torch.no_grad():
        predictions = module(image)
    for part, training in modes.items():
        part.training = training
    return predictions


def _first(value: Any, count: int) -> Any:
    """A copy of the first entries; a view would keep the whole batch in memory."""
    return value[:count].clone() if isinstance(value, Tensor) else value[:count]
