"""Figures: what they show, and that they come out whole."""

import math
from pathlib import Path

import pytest
from matplotlib.colors import to_rgba
from PIL import Image

from lightning_mtl.monitors.charts import cosine_figure, history_figure, pixels, save


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
    figure = cosine_figure(matrix(3), names(3))
    save(figure, tmp_path / "folder" / "cosines.png")
    height, width, channels = pixels(figure).shape
    assert channels == 3
    with Image.open(tmp_path / "folder" / "cosines.png") as picture:
        assert picture.size == (width, height)
