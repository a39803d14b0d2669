"""A panel of one image: the image and, beside it, what each task predicts."""

from collections.abc import Mapping, Sequence
from textwrap import fill

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from lightning_mtl.reports.grid_figure import TASKS, Column, grid_figure, rgb, stacked
from lightning_mtl.tasks import Task

__all__ = ["prediction_panel"]

TITLE = 16
"""Characters in a line of a title."""

LARGEST = 512
"""Longest side of a picture in pixels, so that a panel of a photo fits on a screen."""


def prediction_panel(
    image: Float[Tensor, "channels H W"],
    tasks: Sequence[Task],
    predictions: Mapping[str, Float[Tensor, "C H W"]],
) -> Float[Tensor, "3 height width"]:
    """The panel as RGB from 0 to 1: titles above, words on the pictures, legends below.

    Args:
        image: what was predicted on: the first three channels are RGB, a single one is grey.
        tasks: those to draw.
        predictions: of each task, by its name, at the size of the image.
    """
    first = Column("image", _shrunk(rgb(image[None]).float()), [""])
    size = (first.pictures.shape[-2], first.pictures.shape[-1])
    return stacked(
        grid_figure([first, *(_column(task, predictions[task.name]) for task in row)], size)
        for row in _rows(tasks)
    )


def _rows(tasks: Sequence[Task]) -> list[list[Task]]:
    """Tasks that stand beside each other; no two neighbours have a legend, which needs room."""
    rows: list[list[Task]] = [[]]
    for task in tasks:
        row = rows[-1]
        if len(row) == TASKS or (row and row[-1].palette and task.palette):
            rows.append([])
        rows[-1].append(task)
    return rows


def _column(task: Task, prediction: Float[Tensor, "C H W"]) -> Column:
    drawn = _shrunk(task.draw(prediction[None]))
    return Column(fill(task.name, TITLE), drawn, task.words(prediction[None]), task.palette)


def _shrunk(picture: Float[Tensor, "1 3 H W"]) -> Float[Tensor, "1 3 h w"]:
    longest = max(picture.shape[-2:])
    if longest <= LARGEST:
        return picture
    size = [max(1, round(side * LARGEST / longest)) for side in picture.shape[-2:]]
    return F.interpolate(picture, size, mode="bilinear", align_corners=False, antialias=True)
