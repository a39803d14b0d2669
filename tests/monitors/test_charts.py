"""Figures: what they show, and that they come out whole."""

import math
from pathlib import Path

import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from PIL import Image

from lightning_mtl.monitors.charts import FAINT, history_figure, pixels, save


def names(tasks: int) -> list[str]:
    return [f"task {index}" for index in range(tasks)]


@pytest.mark.parametrize("tasks", [1, 3, 40])
def test_every_task_has_one_colour_in_both_curves_and_the_legend(tasks: int) -> None:
    curves = {name: [float("nan"), 0.1 + k, 2.0] for k, name in enumerate(names(tasks))}
    figure = history_figure([0, 1, 2], curves, curves)
    upper, lower = figure.axes
    colors = [to_rgba(line.get_color()) for line in lower.lines]
    assert [to_rgba(line.get_color()) for line in upper.lines] == colors
    assert len(set(colors)) == tasks
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == names(tasks)


def test_curves_that_coincide_are_all_seen() -> None:
    same = {name: [1.0, 1.0, 1.0] for name in names(3)}
    lower = history_figure([0, 1, 2], same, same).axes[1]
    assert len({line.get_linestyle() for line in lower.lines}) == 3


def test_ratios_are_on_a_log_scale_with_a_gap_where_there_is_no_signal() -> None:
    ratios = {"depth": [float("nan"), 0.01, 0.0, 10.0]}
    upper = history_figure([0, 1, 2, 3], ratios, {"depth": [1.0] * 4}).axes[0]
    assert upper.get_yscale() == "log"
    assert upper.get_ylim()[0] > 1e-3


@pytest.mark.parametrize(
    ("weights", "scale"),
    [
        ([0.5, 1.0, 10.0], "linear"),
        ([0.01, 1.0, float("nan")], "log"),
        ([0.0, 0.01, 1.0], "symlog"),
        ([-0.01, 0.01, 1.0], "symlog"),
        ([0.0, 0.0, 1.0], "linear"),
        ([float("nan")] * 3, "linear"),
    ],
    ids=["near", "decades", "with zero", "with negative", "on and off", "unknown"],
)
def test_weights_that_span_decades_are_on_a_log_scale(weights: list[float], scale: str) -> None:
    lower = history_figure([0, 1, 2], {}, {"depth": weights}).axes[1]
    assert lower.get_yscale() == scale
    low, high = lower.get_ylim()
    assert all(low <= weight <= high for weight in weights if math.isfinite(weight))


def test_the_axis_of_weights_shows_no_negative_ones_where_there_are_none() -> None:
    lower = history_figure([0, 1, 2], {}, {"depth": [0.0, 0.001, 1.0]}).axes[1]
    assert lower.get_ylim()[0] == 0


def test_ratios_without_any_signal_are_drawn_too() -> None:
    curves = {"depth": [float("nan"), 0.0]}
    assert history_figure([0, 1], curves, curves).axes[0].get_yscale() == "linear"


def test_a_task_that_came_last_has_a_shorter_curve() -> None:
    figure = history_figure([0, 1, 2], {}, {"depth": [1.0, 1.0]})
    assert list(figure.axes[1].lines[0].get_xdata()) == [0, 1]


def test_a_picture_on_disk_has_the_pixels_of_the_figure(tmp_path: Path) -> None:
    figure = history_figure([0, 1], {}, {"depth": [1.0, 2.0]})
    save(figure, tmp_path / "folder" / "noise.png")
    height, width, channels = pixels(figure).shape
    assert channels == 3
    with Image.open(tmp_path / "folder" / "noise.png") as picture:
        assert picture.size == (width, height)


def banded(tasks: int) -> Figure:
    """Curves from 1 to 3 with intervals: unknown, from zero on, and above zero."""
    nan = float("nan")
    curves = {name: [1.0, 2.0, 3.0, 3.0] for name in names(tasks)}
    bands = dict.fromkeys(names(tasks), ([nan, 0.0, 2.0, 2.5], [nan, 4.0, 4.0, 3.5]))
    return history_figure([0, 1, 2, 3], curves, curves, bands)


def test_few_tasks_have_their_intervals_shaded() -> None:
    upper, lower = banded(3).axes
    assert [to_rgba(band.get_facecolor()[0][:3]) for band in upper.collections] == [
        to_rgba(line.get_color()) for line in lower.lines
    ]
    heights = upper.collections[0].get_paths()[0].vertices[:, 1]
    assert heights.max() == 4
    assert heights.min() == upper.get_ylim()[0]


def test_many_tasks_have_their_latest_intervals_beside_the_curves() -> None:
    upper = banded(11).axes[0]
    ends = [bar.get_paths()[0].vertices for bar in upper.collections]
    assert all(bar[:, 1].tolist() == [2.5, 3.5] for bar in ends)
    places = [bar[0, 0] for bar in ends]
    assert 3 < places[0] < places[-1] and len(set(places)) == 11


def test_a_curve_is_faint_where_there_may_be_no_signal() -> None:
    upper = banded(3).axes[0]
    clear, faint = upper.lines[:3], upper.lines[3:]
    assert len(faint) == 3 and {line.get_alpha() for line in faint} == {FAINT}
    for line in clear:
        assert [math.isnan(value) for value in line.get_ydata()] == [True, True, False, False]
    assert [line.get_color() for line in faint] == [line.get_color() for line in clear]
