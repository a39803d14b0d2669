"""Figures of balancing: how tasks fared over a run; pixels and files of figures."""

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

FEW = 10
"""The most tasks that have numbers in their cells, and colours that are easy to tell apart."""

COLUMNS = 5
"""The number of columns of a legend."""

SPAN = 30
"""How many times the smallest weight the largest one may be on a linear axis."""

STYLES = ("-", "--", "-.", ":")
"""Line styles, in turn: where curves coincide, those on top leave gaps."""

FAINT = 0.35
"""The opacity of a curve where its interval holds zero."""

MARGIN = 0.1
"""The room for the bars of many tasks, relative to the length of the curves."""

History = Mapping[str, Sequence[float]]
"""A curve for each task; NaN where there is no value."""

Bands = Mapping[str, tuple[Sequence[float], Sequence[float]]]
"""The lower and the upper ends of the intervals of each task; NaN where there are none."""


def history_figure(
    steps: Sequence[float], ratios: History, weights: History, bands: Bands | None = None
) -> Figure:
    """Gradient-to-noise ratio and weight of every task over the steps of a run.

    Ratios are on a log scale, with a gap where the estimate is 0: no signal above the noise. So are
    weights where they span decades.

    Args:
        steps: at which the tasks were measured.
        ratios: of gradient to noise.
        weights: as they were applied.
        bands: the intervals of the ratios. They are shaded for few tasks, and of many the latest
            ones are drawn as bars. Where one is unknown or begins at 0, so that there may be no
            signal, the curve is faint.
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
    if bands:
        _draw_bands(upper, steps, bands)
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


def _draw_bands(axes: Axes, steps: Sequence[float], bands: Bands) -> None:
    """The intervals of the curves that are there, each in the colour of its curve."""
    bottom, top = axes.get_ylim()
    for index, line in enumerate(list(axes.lines)):
        low, high = (np.array(each) for each in bands.get(str(line.get_label()), ((), ())))
        known = np.isfinite(low) & np.isfinite(high)
        if not known.any():
            continue
        _fade(axes, line, known & (low > 0))
        places, color = np.array(steps)[: len(low)], line.get_color()
        low, high = low.clip(min=bottom), high.clip(min=bottom)
        if len(bands) <= FEW:
            axes.fill_between(places, low, high, where=known, color=color, alpha=0.15, lw=0)
        else:
            # Beside each other, to the right of the curves.
            last, room = np.flatnonzero(known)[-1], MARGIN * (steps[-1] - steps[0])
            place = steps[-1] + room * (index + 1) / len(bands)
            axes.vlines(place, low[last], high[last], color=color, lw=1.2)
    axes.set_ylim(bottom, top)


def _fade(axes: Axes, line: Line2D, clear: Bool[np.ndarray, " n"]) -> None:
    """Draw a curve faintly, but for the points that are told from zero."""
    places, values = (np.array(each, dtype=float) for each in line.get_data())
    style, width, color = line.get_linestyle(), line.get_linewidth(), line.get_color()
    axes.plot(places, values, style, lw=width, color=color, alpha=FAINT)
    line.set_ydata(np.where(clear[: len(values)], values, np.nan))


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
