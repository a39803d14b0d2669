"""All figures of an answer with their captions, as PNG files in memory."""

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lightning_mtl.answers.answer import Answer
from lightning_mtl.answers.figures.methods import rank_figure, score_figure
from lightning_mtl.answers.figures.pairs import MOST, pairs_figure
from lightning_mtl.answers.figures.panels import history_panels
from lightning_mtl.answers.histories import ratio_histories, weight_histories
from lightning_mtl.answers.phrases import percent

DOTS = 150
"""Dots per inch: sharp on screens with two pixels for one."""


@dataclass(frozen=True)
class Picture:
    """A figure as a PNG file.

    Args:
        name: of the file, without its ending.
        caption: what it shows.
        png: the content of the file.
    """

    name: str
    caption: str
    png: bytes

    @property
    def encoded(self) -> str:
        """The file in base64, for an address of the kind `data:`."""
        return base64.b64encode(self.png).decode()


def pictures(answer: Answer) -> list[Picture]:
    """The figures for which there is something to show."""
    return [
        Picture(name, caption, _png(figure))
        for name, figure, caption in _figures(answer)
        if figure is not None
    ]


def _figures(answer: Answer) -> Iterator[tuple[str, Figure | None, str]]:
    score = "" if answer.score is None else answer.score.name
    dashes = (
        ""
        if answer.reference is None
        else f" The dashed line marks the mean of {answer.reference}."
    )
    yield (
        "scores",
        score_figure(answer),
        f"{score} with {percent(answer.level)} intervals; faint dots are runs.{dashes}",
    )
    count = len(answer.measures)
    rest = " The first pairs of tasks are shown." if count * (count - 1) // 2 > MOST else ""
    yield (
        "pairs",
        pairs_figure(answer),
        "Pairs of tasks, better towards the upper right (axes of metrics that should be low are"
        " reversed): means of the methods (large) and their runs (small, faint). Black edges and"
        " the dashed line mark the Pareto front of the means."
        f"{rest}",
    )
    yield (
        "ranks",
        rank_figure(answer),
        "Mean ranks over seeds. Methods beside the same vertical bar are not distinguishable"
        " by Friedman's and Nemenyi's tests.",
    )
    yield (
        "weights",
        history_panels(weight_histories(answer), "weight"),
        "Weights of the tasks where they change: mean over seeds, with their range as a band.",
    )
    yield (
        "gnr",
        history_panels(ratio_histories(answer), "gradient-to-noise ratio"),
        "Gradient-to-noise ratios of the tasks: mean over seeds, with their range as a band.",
    )


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.set_dpi(DOTS)
    FigureCanvasAgg(figure).print_png(file)
    return file.getvalue()
