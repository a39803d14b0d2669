import numpy as np
import pytest

from lightning_mtl.statistics import pareto_front


def literal_front(points: np.ndarray, higher: list[bool]) -> list[int]:
    def dominates(first: np.ndarray, second: np.ndarray) -> bool:
        better = [a > b if up else a < b for a, b, up in zip(first, second, higher, strict=True)]
        worse = [a < b if up else a > b for a, b, up in zip(first, second, higher, strict=True)]
        return any(better) and not any(worse)

    return [
        index
        for index, point in enumerate(points)
        if not any(dominates(other, point) for other in points)
    ]


@pytest.mark.parametrize("higher", [[True], [True, False], [False, True, True]])
def test_the_front_is_that_of_the_definition(higher: list[bool]) -> None:
    for seed in range(50):
        # Few levels, so that coordinates and whole points are equal often.
        points = np.random.default_rng(seed).integers(4, size=(12, len(higher)))
        assert pareto_front(points, higher) == literal_front(points, higher)


def test_equal_points_are_kept_together() -> None:
    points = np.array([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0], [0.0, 0.0], [0.0, 0.0]])
    assert pareto_front(points, [True, True]) == [0, 1, 2]


def test_no_points_have_an_empty_front() -> None:
    assert pareto_front(np.empty((0, 2)), [True, True]) == []


def test_a_direction_for_each_coordinate_is_needed() -> None:
    with pytest.raises(ValueError, match=r"one entry for each of 2 coordinates. Found 1"):
        pareto_front(np.ones((3, 2)), [True])


def test_points_that_are_not_finite_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"`pareto_front\(points=\)` should be finite"):
        pareto_front(np.array([[1.0, np.nan]]), [True, True])
