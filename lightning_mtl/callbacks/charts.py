"""Figures of balancing: how tasks agree, and how they fared over a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

History = Mapping[str, Sequence[float]]
"""A curve for each task; NaN where there is no value."""


def cosine_figure(cosines: Sequence[Sequence[float]], tasks: Sequence[str]) -> Figure:
    """The cosines between task gradients as a matrix, blue for agreement, red for conflict."""
    side = 1.6 + 0.55 * len(tasks)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(cosines, vmin=-1, vmax=1, cmap="RdBu")
    axes.set_xticks(range(len(tasks)), labels=tasks, rotation=45, ha="right")
    axes.set_yticks(range(len(tasks)), labels=tasks)
    for row, values in enumerate(cosines):
        for column, value in enumerate(values):
            dark = abs(value) > 0.6
            color = "white" if dark else "black"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=color)
    axes.set_title("cosine of task gradients")
    figure.colorbar(image, shrink=0.8)
    return figure


def history_figure(steps: Sequence[float], ratios: History, weights: History) -> Figure:
    """Gradient-to-noise ratio and weight of every task over the steps of a run."""
    figure = Figure(figsize=(7, 5), layout="constrained")
    upper, lower = figure.subplots(2, sharex=True)
    for axes, curves, label in ((upper, ratios, "GNR"), (lower, weights, "weight")):
        for task, values in curves.items():
            axes.plot(steps, values, label=task, marker=".", markersize=3, linewidth=1)
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    if any(value > 0 for values in ratios.values() for value in values):
        upper.set_yscale("log")
    upper.legend(loc="best", fontsize="small")
    lower.set_xlabel("optimizer step")
    return figure


def pixels(figure: Figure) -> "np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]":
    """The figure as RGB, (height, width, 3)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def save(figure: Figure, path: Path) -> None:
    """As PNG, making the folder where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(path)
