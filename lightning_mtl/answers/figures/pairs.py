"""Pairs of tasks: every run, the means of the methods, and the Pareto front of the means."""

from itertools import combinations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_mtl.answers.answer import Answer
from lightning_mtl.answers.figures.style import (
    REFERENCE,
    WIDTH,
    Style,
    legend,
    literal,
    shorten,
    styles,
    tidy,
)
from lightning_mtl.answers.records import Measure
from lightning_mtl.statistics.pareto import pareto_front

MOST = 6
"""How many pairs are drawn: all pairs of four tasks."""


def pairs_figure(answer: Answer) -> Figure | None:
    """A panel for each of the first pairs of tasks; better is up and to the right in all of them.

    Returns:
        `None` if there is one task, or no run to draw.
    """
    pairs = list(combinations(answer.measures, 2))[:MOST]
    methods = [summary.method for summary in answer.methods if summary.runs]
    if not pairs or not methods:
        return None
    columns = 1 if len(pairs) == 1 else 2 if len(pairs) in (2, 4) else 3
    rows = -(-len(pairs) // columns)
    width = WIDTH if columns < 3 else 1.35 * WIDTH
    size = (width, 0.3 + rows * min(0.95 * width / columns, 4.2))
    figure = Figure(figsize=size, layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    looks = styles([summary.method for summary in answer.methods])
    for axes, (across, up) in zip(panels, pairs, strict=False):
        _draw(axes, answer, across, up, looks)
    for axes in panels[len(pairs) :]:
        axes.remove()
    legend(figure, {shorten(method): looks[method].entry() for method in methods})
    return figure


def _draw(
    axes: Axes, answer: Answer, across: Measure, up: Measure, looks: dict[str, Style]
) -> None:
    summaries = [summary for summary in answer.methods if summary.runs]
    means = np.array(
        [[summary.tasks[across.task].mean, summary.tasks[up.task].mean] for summary in summaries]
    )
    front = pareto_front(means, [across.higher_is_better, up.higher_is_better])
    ordered = means[sorted(front, key=lambda index: means[index, 0])]
    axes.plot(*ordered.T, color=REFERENCE, lw=1, ls="--", zorder=1)
    for index, summary in enumerate(summaries):
        look = looks[summary.method]
        points = [[run.metrics[measure.column] for run in summary.runs] for measure in (across, up)]
        axes.plot(*points, "o", ms=3, color=look.color, alpha=0.4, mew=0, zorder=2)
        edge = "black" if index in front else "white"
        axes.plot(
            *means[index],
            look.marker,
            color=look.color,
            ms=8,
            mec=edge,
            mew=1.2,
            ls="none",
            zorder=3,
        )
    axes.margins(0.08)
    axes.set_xlabel(literal(across.arrow_title))
    axes.set_ylabel(literal(up.arrow_title))
    axes.locator_params(nbins=5)
    if not across.higher_is_better:
        axes.invert_xaxis()
    if not up.higher_is_better:
        axes.invert_yaxis()
    tidy(axes)
