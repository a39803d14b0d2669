"""Figures of pairs of tasks."""

import pytest
from matplotlib.colors import to_rgba

from lightning_mtl.answers.answer import answer
from lightning_mtl.answers.figures.pairs import MOST, pairs_figure
from tests.answers.examples import MEASURES, planted
from tests.answers.figures.clipping import FIVE, HARD, sides_left


@pytest.mark.parametrize("results", HARD.values(), ids=HARD.keys())
def test_nothing_is_cut_off(results) -> None:
    figure = pairs_figure(answer(results))
    assert figure is not None
    assert sides_left(figure) == []


@pytest.mark.parametrize(("measures", "panels"), [(MEASURES[:2], 1), (MEASURES, 3), (FIVE, MOST)])
def test_each_pair_has_a_panel_up_to_the_most(measures, panels: int) -> None:
    figure = pairs_figure(answer(planted(measures=measures)))
    assert figure is not None
    assert len(figure.axes) == panels


def test_axes_of_metrics_that_should_be_low_are_reversed() -> None:
    figure = pairs_figure(answer(planted(measures=MEASURES[:2])))
    assert figure is not None
    assert not figure.axes[0].xaxis_inverted()
    assert figure.axes[0].yaxis_inverted()


def test_the_pareto_front_has_black_edges_and_nothing_else_does() -> None:
    found = answer(planted({"equal": 0.0, "planted": 0.1, "worse": -0.1}))
    figure = pairs_figure(found)
    assert figure is not None
    black = [line for line in figure.axes[0].lines if line.get_markeredgecolor() == "black"]
    (best,) = black
    assert to_rgba(best.get_color()) == to_rgba("C1")


def test_one_task_has_no_pairs() -> None:
    assert pairs_figure(answer(planted(measures=MEASURES[:1]))) is None
