"""Figures of how the gradients of tasks stand to each other."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Bool
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lightning_mtl.monitors.charts import FEW
from lightning_mtl.monitors.recent_noise import ExpectedCosines

COLORS = "RdBu"
"""Blue above zero, red below."""


def cosine_figure(cosines: Sequence[Sequence[float]], tasks: Sequence[str]) -> Figure:
    """The cosines between the task gradients of one step as a matrix; noise is part of them."""
    figure, axes = _matrix(np.array(cosines), tasks)
    if len(tasks) <= FEW:
        for row, column in np.ndindex(len(tasks), len(tasks)):
            _write(axes, row, column, cosines[row][column])
    axes.set_title("cosine of task gradients\nat one step, with noise", fontsize="medium")
    return figure


def expected_cosine_figure(found: ExpectedCosines) -> Figure:
    """The cosines between the expected gradients, below the diagonal, with intervals above it.

    A bar reaches from the lower to the upper end of an interval, with -1 and 1 at the sides of its
    cell and a line at zero. It is grey where the interval holds zero. A pair has frames where the
    interval that holds for all pairs together excludes zero, and only where that one lies below
    zero two tasks are said to be in conflict.
    """
    shown = np.where(np.tri(len(found.tasks), dtype=bool), found.each.mean, np.nan)
    figure, axes = _matrix(shown, found.tasks)
    clear = found.conflict | found.agreement
    for column, row in combinations(range(len(found.tasks)), 2):
        if np.isfinite(shown[row, column]):
            _draw_bar(axes, found, column, row)
            if len(found.tasks) <= FEW:
                _write(axes, row, column, shown[row, column])
        for place in ((row, column), (column, row)) if clear[row, column] else ():
            corner = (place[1] - 0.47, place[0] - 0.47)
            axes.add_patch(Rectangle(corner, 0.94, 0.94, fill=False, ec="black", lw=1.2))
    axes.set_title(
        f"expected cosine, 95 % intervals\n{_verdict(found.conflict)}",
        fontsize="medium",
    )
    return figure


def _matrix(values: np.ndarray, tasks: Sequence[str]) -> tuple[Figure, Axes]:
    """A figure with the matrix of the tasks in colours, and without its numbers."""
    many = len(tasks) > FEW
    side = 1.6 + (0.25 if many else 0.55) * len(tasks)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(values, vmin=-1, vmax=1, cmap=COLORS)
    size = "small" if many else "medium"
    axes.set_xticks(range(len(tasks)), labels=tasks, rotation=45, ha="right", fontsize=size)
    axes.set_yticks(range(len(tasks)), labels=tasks, fontsize=size)
    figure.colorbar(image, shrink=0.8)
    return figure, axes


def _write(axes: Axes, row: int, column: int, value: float) -> None:
    color = "white" if abs(value) > 0.6 else "black"
    axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=color)


def _draw_bar(axes: Axes, found: ExpectedCosines, row: int, column: int) -> None:
    """The interval of a pair across its cell, from -1 at the left side to 1 at the right."""
    mean, low, high = (column + 0.45 * float(end[row, column]) for end in found.each[:3])
    shade = axes.images[0].cmap(axes.images[0].norm(0.8 * np.sign(found.each.mean[row, column])))
    color = shade if found.each.excludes(0)[row, column] else "0.6"
    axes.plot([column, column], [row - 0.35, row + 0.35], color="0.85", lw=0.8, zorder=1)
    axes.plot([low, high], [row, row], color=color, lw=2, solid_capstyle="butt")
    axes.plot([mean], [row], "o", color=color, ms=3)


def _verdict(conflict: Bool[np.ndarray, "k k"]) -> str:
    """How many pairs are in conflict, in words."""
    pairs, conflicts = len(conflict) * (len(conflict) - 1) // 2, int(conflict.sum()) // 2
    if not conflicts:
        return "no pair clearly below zero"
    return f"{conflicts} of {pairs} {'pair' if pairs == 1 else 'pairs'} in conflict"
