"""Scores from counts of matched edge pixels, by hand."""

import numpy as np
import pytest

from lightning_mtl.metrics.edges.edge_scores import best_f, f_score, interpolated_ap

# Rows: matched and all target pixels, matched and all predicted pixels, at three thresholds.
COUNTS = np.array([[80, 40, 0], [100, 100, 100], [60, 40, 0], [120, 40, 0]])


def test_f_is_the_harmonic_mean_of_recall_and_precision():
    assert f_score(COUNTS, 0) == pytest.approx([2 * 0.8 * 0.5 / 1.3, 2 * 0.4 / 1.4, 0])


def test_between_thresholds_recall_and_precision_are_interpolated_at_a_hundred_points():
    share = np.linspace(0, 1, 100)
    recall, precision = 0.8 - 0.4 * share, 0.5 + 0.5 * share
    expected = (2 * recall * precision / (recall + precision)).max()
    assert best_f(COUNTS, 0, interpolate=True) == pytest.approx(expected)
    assert best_f(COUNTS, 0, interpolate=False) == pytest.approx(2 * 0.8 * 0.5 / 1.3)
    assert best_f(COUNTS[:, :1], 0, interpolate=True) == pytest.approx(2 * 0.8 * 0.5 / 1.3)


@pytest.mark.parametrize(("empty_precision", "start"), [(0, 0), (1, 1)])
def test_the_area_starts_at_the_precision_of_nothing(empty_precision, start):
    grid = np.arange(81) / 100
    expected = np.interp(grid, [0, 0.4, 0.8], [start, 1, 0.5]).sum() / 100
    assert interpolated_ap(COUNTS, empty_precision) == pytest.approx(expected)


def test_one_recall_has_no_area():
    assert interpolated_ap(COUNTS[:, :1], 1) == 0


def test_counts_of_nothing_score_zero():
    nothing = np.zeros((4, 2), dtype=int)
    assert best_f(nothing, 1, interpolate=True) == interpolated_ap(nothing, 1) == 0
