"""Figures of balancing: how tasks agree, and how they fared over a run."""

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

FEW = 10
"""The most tasks that have numbers in their cells, and colours that are easy to tell apart."""

COLUMNS = 5
"""The number of columns of a legend."""

SPAN = 30
"""How many times the smallest weight the largest one may be on a linear axis."""

STYLES = ("-", "--", "-.", ":")
"""Line styles, in turn: where curves coincide, those on top leave gaps."""

History = Mapping[str, Sequence[float]]
"""A curve for each task; NaN where there is no value."""


def cosine_figure(cosines: Sequence[Sequence[float]], tasks: Sequence[str]) -> Figure:
    """The cosines between task gradients as a matrix, blue for agreement, red for conflict."""
    many = len(tasks) > FEW
    side = 1.6 + (0.25 if many else 0.55) * len(tasks)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(cosines, vmin=-1, vmax=1, cmap="RdBu")
    size = "small" if many else "medium"
    axes.set_xticks(range(len(tasks)), labels=tasks, rotation=45, ha="right", fontsize=size)
    axes.set_yticks(range(len(tasks)), labels=tasks, fontsize=size)
    for row, values in enumerate([] if many else cosines):
        for column, value in enumerate(values):
            dark = abs(value) > 0.6
            color = "white" if dark else "black"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=color)
    axes.set_title("cosine of task gradients")
    figure.colorbar(image, shrink=0.8)
    return figure


def history_figure(steps: Sequence[float], ratios: History, weights: History) -> Figure:
    """Gradient-to-noise ratio and weight of every task over the steps of a run.

    Ratios are on a log scale, with a gap where the estimate is 0: no signal above the noise. So are
    weights where they span decades.
    """
    rows = -(-len(weights) // COLUMNS)
    figure = Figure(figsize=(7, 5.3 + 0.2 * rows), layout="constrained")
    upper, lower = figure.subplots(2, sharex=True)
    names = {"gradient-to-noise ratio": (upper, ratios), "weight": (lower, weights)}
    many = len(weights) > FEW
    for label, (axes, curves) in names.items():
        for index, task in enumerate(weights):
            values = curves.get(task, [])
            color = _color(index, len(weights)) if many else f"C{index}"
            # Each is narrower than the one beneath it, which stays visible.
            width = 0.9 if many else 4 - 2.8 * index / max(1, len(weights) - 1)
            axes.plot(
                steps[: len(values)],
                values,
                STYLES[index % len(STYLES)],
                lw=width,
                label=task,
                color=color,
            )
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    _scale_ratios(upper, [value for values in ratios.values() for value in values])
    _scale_weights(lower, [value for values in weights.values() for value in values])
    handles, labels = lower.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=COLUMNS,
        fontsize="small" if many else "medium",
        frameon=False,
    )
    lower.set_xlabel("optimizer step")
    return figure


def _color(index: int, count: int) -> tuple[float, ...]:
    """One of many colours that differ, none too bright for thin lines on white."""
    red, green, blue, _ = colormaps["turbo"](index / (count - 1))
    return 0.85 * red, 0.85 * green, 0.85 * blue


def _scale_ratios(axes: Axes, ratios: Sequence[float]) -> None:
    """A log axis with gaps at zeros, unless there is nothing else."""
    sizes = [ratio for ratio in ratios if ratio > 0 and isfinite(ratio)]
    if sizes:
        axes.set_yscale("log", nonpositive="mask")
        _label_numbers(axes, max(sizes) / min(sizes))


def _scale_weights(axes: Axes, weights: Sequence[float]) -> None:
    """A log axis for weights that span decades, around 0 a linear one if some are 0 or negative."""
    finite = [weight for weight in weights if isfinite(weight)]
    sizes = [abs(weight) for weight in finite if weight]
    if not sizes or max(sizes) <= SPAN * min(sizes):
        return
    if min(finite) > 0:
        axes.set_yscale("log")
        _label_numbers(axes, max(sizes) / min(sizes))
    else:
        axes.set_yscale("symlog", linthresh=max(min(sizes), max(sizes) / 1000))
        axes.yaxis.set_major_formatter("{x:g}")
        if min(finite) == 0:
            axes.set_ylim(bottom=0)


def _label_numbers(axes: Axes, span: float) -> None:
    """Label a log axis by numbers such as 0.2 rather than by powers: few, but at least two."""
    steps = (1.0,) if span > 1000 else (1.0, 2.0, 5.0)
    axes.yaxis.set_major_locator(LogLocator(subs=steps))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def pixels(figure: Figure) -> "np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]":
    """The rendered figure as an RGB array of shape (height, width, 3)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def save(figure: Figure, path: Path) -> None:
    """Write the figure as PNG. Makes the folder if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(path)
