"""Figures of cosines: what they show, and of which pairs they say that they are in conflict."""

import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from lightning_mtl.monitors.charts import pixels
from lightning_mtl.monitors.cosine_chart import cosine_figure, expected_cosine_figure
from lightning_mtl.monitors.recent_noise import ExpectedCosines
from lightning_mtl.statistics import Intervals


def matrix(tasks: int) -> list[list[float]]:
    return [[math.cos(i - j) for j in range(tasks)] for i in range(tasks)]


def names(tasks: int) -> list[str]:
    return [f"task {index}" for index in range(tasks)]


def test_cosines_have_their_numbers_in_the_cells_and_the_tasks_on_the_axes() -> None:
    axes = cosine_figure(matrix(3), names(3)).axes[0]
    shown = [text.get_text() for text in axes.texts]
    assert shown == [f"{value:.2f}" for row in matrix(3) for value in row]
    assert [label.get_text() for label in axes.get_yticklabels()] == names(3)
    assert axes.images[0].get_clim() == (-1, 1)


def test_agreement_is_blue_and_conflict_is_red() -> None:
    image = cosine_figure([[1.0, -1.0], [-1.0, 1.0]], names(2)).axes[0].images[0]
    blue, red = image.cmap(image.norm(1.0)), image.cmap(image.norm(-1.0))
    assert blue[2] > 2 * blue[0]
    assert red[0] > 2 * red[2]


def test_the_cells_of_many_tasks_have_no_numbers() -> None:
    figure = cosine_figure(matrix(40), names(40))
    assert list(figure.axes[0].texts) == []
    assert max(pixels(figure).shape) < 1500


def expected(cosine: float, each: float, together: float, tasks: int = 3) -> Figure:
    """The figure of one pair with a cosine and half-widths of its intervals; the others are 0."""
    mean = np.eye(tasks)
    mean[0, 1] = mean[1, 0] = cosine
    ends = [Intervals(mean, mean - width, mean + width, 20) for width in (each, together)]
    return expected_cosine_figure(ExpectedCosines(names(tasks), *ends))


def title(figure: Figure) -> str:
    return figure.axes[0].get_title()


@pytest.mark.parametrize(
    ("cosine", "together", "said", "frames"),
    [
        (-0.5, 0.4, "1 of 3 pairs in conflict", 2),
        (-0.5, 0.6, "no pair clearly below zero", 0),
        (0.5, 0.4, "no pair clearly below zero", 2),
    ],
    ids=["below zero", "holds zero", "above zero"],
)
def test_conflict_is_said_only_where_the_interval_of_all_pairs_lies_below_zero(
    cosine: float, together: float, said: str, frames: int
) -> None:
    figure = expected(cosine, 0.3, together)
    assert title(figure).endswith(said)
    patches = [(round(p.get_x(), 2), round(p.get_y(), 2)) for p in figure.axes[0].patches]
    assert patches == [(-0.47, 0.53), (0.53, -0.47)][:frames]


def test_a_bar_has_the_ends_of_the_interval_and_is_grey_where_it_holds_zero() -> None:
    figure = expected(-0.5, 0.3, 0.4)
    bars = [line for line in figure.axes[0].lines if line.get_linewidth() == 2]
    assert len(bars) == 3
    places = [list(line.get_xdata()) for line in bars]
    assert places[0] == pytest.approx([1 - 0.45 * 0.8, 1 - 0.45 * 0.2])
    assert places[1] == pytest.approx([2 - 0.45 * 0.3, 2 + 0.45 * 0.3])
    red, green, blue, _ = bars[0].get_color()
    assert red > 2 * green and red > 2 * blue
    assert bars[1].get_color() == bars[2].get_color() == "0.6"


def test_cells_below_the_diagonal_have_numbers_and_those_of_many_tasks_have_none() -> None:
    shown = [text.get_text() for text in expected(-0.5, 0.3, 0.4).axes[0].texts]
    assert shown == ["-0.50", "0.00", "0.00"]
    many = expected(-0.5, 0.3, 0.4, tasks=11)
    assert list(many.axes[0].texts) == []
    assert title(many).endswith("1 of 55 pairs in conflict")
    assert max(pixels(many).shape) < 1500


def test_an_unknown_cosine_has_an_empty_cell() -> None:
    figure = expected(float("nan"), 0.3, 0.4)
    assert len(figure.axes[0].texts) == 2
    assert len([line for line in figure.axes[0].lines if line.get_linewidth() == 2]) == 2
    assert title(figure).endswith("no pair clearly below zero")
