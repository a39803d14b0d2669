"""The figure: one panel for each weighting, on the contours of the mean loss."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from PIL import Image

from two_tasks.landscape import OPTIMUM, TASKS, pareto_front, task_losses_at

COLUMNS = 7
WIDTH = 9.0
"""Inches, so that 100 dots per inch are the width of a README."""
DOTS = 200
"""Dots per inch, for displays with two pixels for one of the README."""
LEGEND, HEADING, ROW = 0.3, 0.25, 1.45
"""Inches for the legend, for the heading of a group, and for a row of panels with their titles."""
LIMITS = (-11.0, 11.0)
TIME = "plasma"
LATEST = 0.92
"""A path has the colours of this map, from 0 at its start to this place, at its end."""

START: Mapping[str, Any] = {
    "marker": "o",
    "color": "black",
    "markersize": 3,
    "linestyle": "none",
    "zorder": 4,
}
END: Mapping[str, Any] = {
    "marker": "*",
    "markerfacecolor": "white",
    "markeredgecolor": "black",
    "markeredgewidth": 0.7,
    "markersize": 7.5,
    "linestyle": "none",
    "zorder": 5,
}
FRONT: Mapping[str, Any] = {
    "color": "0.45",
    "linewidth": 4,
    "solid_capstyle": "round",
    "alpha": 0.75,
    "zorder": 2,
}

Paths = Mapping[str, Sequence[Float[NDArray, "n 2"]]]
"""The paths of each weighting, one from each starting point."""


def figure(groups: Mapping[str, Paths]) -> Figure:
    """Small multiples under a legend: for each group, a heading and one panel per weighting.

    Args:
        groups: the paths of several weightings by the heading over them.
    """
    rows = [-(-len(paths) // COLUMNS) for paths in groups.values()]
    heights = [LEGEND, *(HEADING + ROW * count for count in rows)]
    drawn = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    legend, *parts = drawn.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    _legend(legend)
    for part, count, (heading, paths) in zip(parts, rows, groups.items(), strict=True):
        _group(part, heading, paths, count)
    return drawn


def panel(axes: Axes, name: str, paths: Sequence[Float[NDArray, "n 2"]]) -> None:
    """Draw the paths of one weighting on the landscape: start, course in time, and end.

    Args:
        axes: where to draw.
        name: the title.
        paths: one from each starting point.
    """
    _landscape(axes)
    for path in paths:
        pieces = list(np.stack([path[:-1], path[1:]], axis=1))
        line = LineCollection(pieces, cmap=TIME, linewidths=1.6, capstyle="round", zorder=3)
        line.set_array(np.linspace(0, LATEST, len(pieces)))
        line.set_clim(0, 1)
        axes.add_collection(line)
        axes.plot(*path[0], **START)
        axes.plot(*path[-1], **END)
    axes.set_title(name, fontsize=7, pad=3)


def save(drawn: Figure, path: Path) -> None:
    """Write the figure as a PNG of 256 colours, a third as large as one of all colours."""
    buffer = BytesIO()
    drawn.savefig(buffer, dpi=DOTS)
    Image.open(buffer).convert("RGB").quantize().save(path, format="PNG", optimize=True)


def _landscape(axes: Axes) -> None:
    """Contours of the mean loss, and the Pareto front."""
    ticks = np.linspace(*LIMITS, 151)
    points = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    mean = task_losses_at(points).mean(1).reshape(len(ticks), len(ticks))
    axes.contour(ticks, ticks, mean, levels=12, cmap="Greys_r", linewidths=0.5, alpha=0.8, zorder=1)
    axes.plot(*pareto_front(count=41).T, **FRONT)
    for task, x in zip(TASKS, (OPTIMUM, -OPTIMUM), strict=True):
        axes.text(x, -10.5, task, fontsize=5.5, ha="center", va="bottom", color="0.25")
    axes.set(xlim=LIMITS, ylim=LIMITS, aspect="equal", xticks=[], yticks=[])


def _group(part: SubFigure, heading: str, paths: Paths, rows: int) -> None:
    """Draw one group; places that it leaves free stay empty."""
    part.suptitle(heading, fontsize=9.5, fontweight="bold", x=0.005, ha="left")
    places: list[Axes] = part.subplots(rows, COLUMNS, squeeze=False).ravel().tolist()
    for axes, (name, each) in zip(places, paths.items(), strict=False):
        panel(axes, name, each)
    for axes in places[len(paths) :]:
        axes.set_axis_off()


def _legend(part: SubFigure) -> None:
    """Say what the marks are."""
    colors = colormaps[TIME](np.array([0.0, LATEST / 2, LATEST]))
    marks = {
        "start": START,
        "first steps": {"color": colors[0], "linewidth": 1.6},
        "halfway": {"color": colors[1], "linewidth": 1.6},
        "last steps": {"color": colors[2], "linewidth": 1.6},
        "end": END,
        "Pareto front, with the optimum of each task at an end": FRONT,
    }
    handles = [Line2D([], [], **style) for style in marks.values()]
    part.legend(handles, list(marks), loc="center", ncols=len(marks), fontsize=7.5, frameon=False)
