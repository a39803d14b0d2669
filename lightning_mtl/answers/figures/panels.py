"""A small panel for each method with curves of the tasks over the steps of its runs."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lightning_mtl.answers.figures.style import (
    WIDTH,
    colors,
    legend,
    literal,
    scale,
    shorten,
    tidy,
)
from lightning_mtl.answers.histories import Curve, Curves
from lightning_mtl.monitors.charts import STYLES

COLUMNS = 3
"""How many panels stand side by side."""


def history_panels(histories: Mapping[str, Curves], label: str) -> Figure | None:
    """Curves of all tasks for each method: the mean over seeds, and their range as a band.

    Args:
        histories: by method and task.
        label: of the vertical axes, such as `weight`.

    Returns:
        `None` if there is no method.
    """
    if not histories:
        return None
    columns = min(COLUMNS, len(histories))
    rows = -(-len(histories) // columns)
    size = (WIDTH if columns > 1 else 0.7 * WIDTH, 0.4 + 2.0 * rows)
    figure = Figure(figsize=size, layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False, sharex=True).flat)
    tasks = list(dict.fromkeys(task for found in histories.values() for task in found))
    looks = {
        task: Line2D([], [], color=color, ls=STYLES[index % len(STYLES)], lw=1.4)
        for index, (task, color) in enumerate(zip(tasks, colors(len(tasks)), strict=True))
    }
    for axes, (method, found) in zip(panels, histories.items(), strict=False):
        for task, curve in found.items():
            _draw(axes, curve, looks[task])
        axes.set_title(shorten(method, 66 // columns), fontsize="medium")
        values = np.concatenate([curve.mean for curve in found.values()])
        scale(axes, values[np.isfinite(values)].tolist())
        tidy(axes)
    for index, axes in enumerate(panels):
        axes.tick_params(labelsize="small", labelbottom=True)
        if index % columns == 0:
            axes.set_ylabel(label)
        if index >= (rows - 1) * columns:
            axes.set_xlabel("optimizer step")
        if index >= len(histories):
            axes.remove()
    legend(figure, {literal(task): look for task, look in looks.items()})
    return figure


def _draw(axes: Axes, curve: Curve, look: Line2D) -> None:
    color, style = look.get_color(), look.get_linestyle()
    axes.fill_between(curve.steps, curve.low, curve.high, color=color, alpha=0.2, lw=0)
    axes.plot(curve.steps, curve.mean, color=color, ls=style, lw=look.get_linewidth())
