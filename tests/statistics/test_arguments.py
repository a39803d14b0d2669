import numpy as np
import pytest

from lightning_mtl.statistics.arguments import check_level, finite_array


def test_integers_become_an_array_of_float64() -> None:
    array = finite_array("rank_test", "scores", [[1, 2]], axes=2)
    assert array.dtype == np.float64
    assert array.tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_the_error_says_where_a_value_is_not_finite(wrong: float) -> None:
    values = [[1.0, 2.0], [3.0, wrong]]
    with pytest.raises(ValueError, match=r"`rank_test\(scores=\)` should be finite.*index 1, 1"):
        finite_array("rank_test", "scores", values, axes=2)


def test_another_number_of_axes_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"should have 2 axes. Found an array of shape \(3,\)"):
        finite_array("rank_test", "scores", [1.0, 2.0, 3.0], axes=2)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0, float("nan")])
def test_a_level_is_a_share(level: float) -> None:
    with pytest.raises(ValueError, match=r"`mean_interval\(level=\)` should be between 0 and 1"):
        check_level("mean_interval", level)
