"""How the methods compare: their scores with intervals, and their mean ranks."""

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_mtl.answers.answer import Answer
from lightning_mtl.answers.figures.style import REFERENCE, WIDTH, literal, shorten, styles, tidy
from lightning_mtl.answers.ranking import Ranking


def score_figure(answer: Answer) -> Figure | None:
    """The score of every method, the best at the top: its interval, and each run as a dot.

    Returns:
        `None` if there is no score.
    """
    found = {
        summary.method: summary.score
        for summary in answer.methods
        if answer.score is not None and summary.score is not None
    }
    if answer.score is None or not found:
        return None
    order = sorted(found, key=lambda method: found[method].mean)
    figure = _figure_of_rows(len(order))
    axes = figure.subplots()
    looks = styles([summary.method for summary in answer.methods])
    if answer.single_tasks:
        axes.axvline(0, color=REFERENCE, lw=1)
    if answer.reference in found:
        axes.axvline(found[answer.reference].mean, color=REFERENCE, lw=1, ls="--")
    for row, method in enumerate(order):
        interval, look = found[method], looks[method]
        values = answer.score.values[method]
        axes.plot(values, [row] * len(values), "o", ms=3.5, color=look.color, alpha=0.45, mew=0)
        if math.isfinite(interval.half_width):
            axes.plot([interval.low, interval.high], [row, row], color=look.color, lw=1.8)
        axes.plot(interval.mean, row, look.marker, color=look.color, ms=7, mec="white", mew=0.8)
    _label_rows(axes, order)
    axes.set_xlabel(f"{literal(answer.score.name)} (%), higher is better")
    return figure


def rank_figure(answer: Answer) -> Figure | None:
    """Critical-difference diagram: mean ranks, and bars over methods that are not told apart.

    After Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets" (JMLR 2006),
    figure 1, with one row for each method, so that long names have room.

    Returns:
        `None` if the methods are not ranked.
    """
    if answer.ranking is None:
        return None
    ranks = answer.ranking.ranks
    order = sorted(ranks, key=lambda method: -ranks[method])
    figure = _figure_of_rows(len(order))
    axes = figure.subplots()
    looks = styles([summary.method for summary in answer.methods])
    for row, method in enumerate(order):
        look = looks[method]
        axes.plot([1, ranks[method]], [row, row], color=look.color, lw=1, alpha=0.35)
        axes.plot(ranks[method], row, look.marker, color=look.color, ms=7, mec="white", mew=0.8)
    _draw_groups(axes, answer.ranking, order)
    _label_rows(axes, order)
    axes.set_xlabel("mean rank over seeds, lower is better")
    return figure


def _draw_groups(axes: Axes, ranking: Ranking, order: list[str]) -> None:
    """Vertical bars to the right of the ranks, and the critical difference as a length above."""
    count, distance = len(order), ranking.critical_difference
    axes.set_xlim(0.85, count + 0.15)
    axes.set_xticks([tick for tick in range(1, count + 1) if count <= 10 or tick % 2])
    if distance is None:
        return
    groups = [group for group in ranking.groups if len(group) > 1]
    gap = 0.025 * count
    for place, group in enumerate(groups, start=1):
        rows = [order.index(method) for method in group]
        x = count + 0.15 + gap * place
        axes.plot([x, x], [min(rows) - 0.2, max(rows) + 0.2], color=REFERENCE, lw=3.5)
    axes.set_xlim(0.85, max(count + 0.15 + gap * (len(groups) + 1), 1 + distance + 0.15))
    axes.plot([1, 1 + distance], [count, count], "|-", color="black", lw=1.5, ms=8)
    axes.text(
        1 + distance / 2,
        count + 0.25,
        f"critical difference {distance:.2f}",
        ha="center" if 1 + distance < count else "left",
        va="bottom",
        fontsize="small",
    )


def _figure_of_rows(rows: int) -> Figure:
    return Figure(figsize=(WIDTH, 1.1 + 0.32 * rows), layout="constrained")


def _label_rows(axes: Axes, methods: list[str]) -> None:
    axes.set_yticks(range(len(methods)), labels=[shorten(method) for method in methods])
    tidy(axes)
