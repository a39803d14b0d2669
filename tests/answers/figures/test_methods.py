"""Figures of scores and of ranks."""

import pytest

from lightning_mtl.answers.answer import answer
from lightning_mtl.answers.figures.methods import rank_figure, score_figure
from tests.answers.examples import planted
from tests.answers.figures.clipping import HARD, sides_left


@pytest.mark.parametrize("draw", [score_figure, rank_figure])
@pytest.mark.parametrize("results", HARD.values(), ids=HARD.keys())
def test_nothing_is_cut_off(draw, results) -> None:
    figure = draw(answer(results))
    assert figure is not None
    assert sides_left(figure) == []


def test_scores_are_sorted_with_the_best_at_the_top() -> None:
    figure = score_figure(answer(planted()))
    assert figure is not None
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert (names[0], names[-1]) == ("worse", "planted")


def test_each_interval_is_drawn_from_its_low_to_its_high_end() -> None:
    found = answer(planted())
    figure = score_figure(found)
    assert figure is not None
    ends = {tuple(line.get_xdata()) for line in figure.axes[0].lines if len(line.get_xdata()) == 2}
    for summary in found.methods:
        assert summary.score is not None
        assert (summary.score.low, summary.score.high) in ends


def test_every_group_of_the_ranks_has_a_bar_over_its_methods() -> None:
    found = answer(planted())
    figure = rank_figure(found)
    assert figure is not None
    assert found.ranking is not None
    order = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    bars = {tuple(line.get_ydata()) for line in figure.axes[0].lines if line.get_linewidth() == 3.5}
    expected = set()
    for group in found.ranking.groups:
        rows = [order.index(method) for method in group]
        expected.add((min(rows) - 0.2, max(rows) + 0.2))
    assert bars == expected


def test_without_scores_or_ranks_there_is_no_figure() -> None:
    found = answer(planted({"one": 0.0}, reference=None, single_tasks={}))
    assert score_figure(found) is None
    assert rank_figure(found) is None
