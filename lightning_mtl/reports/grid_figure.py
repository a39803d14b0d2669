"""A grid of pictures as a figure: titles above, words on the pictures, legends below."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from textwrap import fill

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from torch import Tensor
from torch.nn import functional as F

from lightning_mtl.tasks.colors import Color

WIDTH, HEIGHT = 1.5, 0.4
"""Least size of a picture in inches; large ones have more pixels per inch: letters grow too."""

SMALLEST = 128
"""Least width of a picture in pixels; smaller ones are enlarged by a whole number."""

GAP = 2
"""Pixels between the pictures and around the grid."""

TASKS = 6
"""Tasks beside each other, at most; more stand below."""

COLUMNS = 12
"""Entries in a line of a legend, at most."""


@dataclass(frozen=True)
class Column:
    """Pictures below each other, one for each frame.

    Attributes:
        title: what stands above; its first lines may reach over the next column.
        pictures: RGB from 0 to 1, of any size: they are stretched to that of the frames.
        words: what to write on each picture: in its lower left corner, or large in the middle of
            one that has a single row of pixels, as those of facts about whole images do.
        palette: legend below, a colour by its meaning; it may be two columns wide.
    """

    title: str
    pictures: Float[Tensor, "N 3 h w"]
    words: Sequence[str]
    palette: Mapping[str, Color] = field(default_factory=dict)


def grid_figure(columns: Sequence[Column], size: tuple[int, int]) -> Figure:
    """A figure of the columns side by side, as large as titles and legends need.

    Args:
        columns: at least one; all have the same number of pictures.
        size: height and width of the frames in pixels.
    """
    times = ceil(SMALLEST / size[1])
    height, width = (times * side for side in size)
    rows, dpi = len(columns[0].pictures), min(width / WIDTH, height / HEIGHT)
    inner = (len(columns) * (width + GAP) - GAP, rows * (height + GAP) - GAP)
    figure = Figure(figsize=(inner[0] / dpi, inner[1] / dpi), dpi=dpi)
    figure.set_layout_engine("none")
    FigureCanvasAgg(figure)
    figure.subplots_adjust(0, 0, 1, 1, wspace=GAP / width, hspace=GAP / height)
    grid = figure.subplots(rows, len(columns), squeeze=False)
    for column, cells in zip(columns, grid.T, strict=True):
        # Bytes, which matplotlib keeps; numbers from 0 to 1 it would round down.
        pixels = column.pictures.detach().float().cpu().clamp(0, 1).mul(255).round().byte()
        images = pixels.permute(0, 2, 3, 1).numpy()
        for axes, image, words in zip(cells, images, column.words, strict=True):
            axes.imshow(image, interpolation="nearest", aspect="auto")
            axes.set_axis_off()
            _write(axes, words, large=len(image) == 1)
        cells[0].set_title(column.title, loc="left", fontsize=10)
        if column.palette:
            _add_legend(cells[-1], column.palette, 2 * width)
    _make_room(figure, inner)
    return figure


def rgb(image: Float[Tensor, "N I H W"]) -> Float[Tensor, "N 3 H W"]:
    """The first three channels of images, or the first one as grey."""
    return image[:, :3] if image.shape[1] >= 3 else image[:, :1].expand(-1, 3, -1, -1)


def stacked(figures: Iterable[Figure]) -> Float[Tensor, "3 height width"]:
    """Figures below each other as one picture, RGB from 0 to 1; narrower ones have a white rest."""
    rows = [rendered(figure) for figure in figures]
    width = max(row.shape[-1] for row in rows)
    return torch.cat([F.pad(row, (0, width - row.shape[-1]), value=1.0) for row in rows], dim=1)


def rendered(figure: Figure) -> Float[Tensor, "3 height width"]:
    """The figure as RGB from 0 to 1."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    return torch.from_numpy(pixels).permute(2, 0, 1) / 255


def _write(axes: Axes, words: str, large: bool) -> None:
    """White words with a black rim, in the middle if large, else in the lower left corner."""
    if large:
        place, offset = (0.5, 0.5), (0, 0)
        size, characters, anchor = 18 if len(words) <= 6 else 11, 12, "center"
    else:
        place, offset = (0.0, 0.0), (3, 3)
        size, characters, anchor = 8, 18, "bottom"
    axes.annotate(
        fill(words, characters),
        place,
        offset,
        xycoords="axes fraction",
        textcoords="offset points",
        ha="center" if large else "left",
        va=anchor,
        fontsize=size,
        color="white",
        path_effects=[withStroke(linewidth=2, foreground="black")],
    )


def _add_legend(axes: Axes, palette: Mapping[str, Color], width: float) -> None:
    """A legend below the axes, with as many entries in a line as that width in pixels has room."""
    handles = [Patch(color=color, label=fill(label, 30)) for label, color in palette.items()]
    for entries in range(min(COLUMNS, len(handles)), 0, -1):
        legend = axes.legend(
            handles=handles,
            ncols=entries,
            loc="upper left",
            bbox_to_anchor=(0, 0),
            borderaxespad=0.2,
            borderpad=0.2,
            fontsize=8,
            handlelength=1,
            handleheight=1,
            handletextpad=0.3,
            columnspacing=0.7,
            labelspacing=0.3,
            frameon=False,
        )
        if legend.get_window_extent().width <= width:
            return


def _make_room(figure: Figure, inner: tuple[int, int]) -> None:
    """Enlarge a figure that its pictures fill, by what stands around them."""
    box, dpi = figure.get_tightbbox(), figure.dpi
    outside = (-box.x0 * dpi, -box.y0 * dpi, box.x1 * dpi - inner[0], box.y1 * dpi - inner[1])
    # Less than a hundredth of a pixel is rounding.
    left, bottom, right, top = (GAP + max(0, ceil(pixels - 0.01)) for pixels in outside)
    # The canvas rounds down: half a pixel more keeps it from losing one.
    width, height = inner[0] + left + right + 0.5, inner[1] + bottom + top + 0.5
    figure.set_size_inches(width / dpi, height / dpi)
    figure.subplots_adjust(
        left / width, bottom / height, (left + inner[0]) / width, (bottom + inner[1]) / height
    )
