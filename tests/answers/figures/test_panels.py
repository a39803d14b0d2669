"""Figures of weights over time."""

import numpy as np
import pytest

from lightning_mtl.answers.figures.panels import history_panels
from lightning_mtl.answers.histories import Curve
from tests.answers.figures.clipping import sides_left


def curve(values: np.ndarray) -> Curve:
    return Curve(np.arange(len(values)), values, 0.9 * values, 1.1 * values)


@pytest.mark.parametrize("methods", [1, 2, 5, 14])
def test_nothing_is_cut_off(methods: int) -> None:
    ramp = np.linspace(1, 2, 20)
    histories = {
        f"a method with a long name {index}": {
            "segmentation": curve(ramp),
            "$depth$": curve(1 / ramp),
        }
        for index in range(methods)
    }
    figure = history_panels(histories, "weight")
    assert figure is not None
    assert len(figure.axes) == methods
    assert sides_left(figure) == []


@pytest.mark.parametrize(
    ("values", "scale"),
    [([1.0, 2.0], "linear"), ([0.001, 1.0], "log"), ([0.0, 0.001, 1.0], "symlog")],
    ids=["near each other", "decades", "decades and 0"],
)
def test_the_axis_fits_the_values(values: list[float], scale: str) -> None:
    figure = history_panels({"a": {"depth": curve(np.array(values))}}, "weight")
    assert figure is not None
    assert figure.axes[0].get_yscale() == scale


def test_a_task_has_one_colour_in_all_panels() -> None:
    ramp = np.linspace(1, 2, 20)
    histories = {"a": {"depth": curve(ramp), "edges": curve(ramp)}, "b": {"edges": curve(ramp)}}
    figure = history_panels(histories, "weight")
    assert figure is not None
    first, second = figure.axes
    assert second.lines[0].get_color() == first.lines[1].get_color()


def test_without_histories_there_is_no_figure() -> None:
    assert history_panels({}, "weight") is None
