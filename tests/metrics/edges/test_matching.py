"""Matchings against the literal search for augmenting paths."""

import numpy as np
import pytest

from lightning_mtl.metrics.edges.matching import match


def literal(prediction: np.ndarray, target: np.ndarray, radius: float) -> int:
    """The size of the largest matching, by Kuhn's algorithm over all pairs of pixels."""
    ends = np.argwhere(target)
    near = [
        [j for j, end in enumerate(ends) if np.hypot(*(start - end)) <= radius]
        for start in np.argwhere(prediction)
    ]
    owner: dict[int, int] = {}

    def augments(start: int, seen: set[int]) -> bool:
        for end in near[start]:
            if end not in seen:
                seen.add(end)
                if end not in owner or augments(owner[end], seen):
                    owner[end] = start
                    return True
        return False

    return sum(augments(start, set()) for start in range(len(near)))


@pytest.mark.parametrize("radius", [0.0, 0.5, 1.0, 1.5, 2.3, 3.0])
@pytest.mark.parametrize("share", [0.05, 0.2, 0.6])
def test_as_many_pixels_are_matched_as_can_be(radius, share):
    generator = np.random.default_rng(0)
    for _ in range(5):
        prediction, target = generator.random((2, 14, 11)) < share
        matched = match(prediction, target, radius)
        assert matched.shape == (prediction.sum(),)
        assert matched.sum() == literal(prediction, target, radius)


def test_matched_pixels_have_a_pixel_of_the_target_in_reach():
    generator = np.random.default_rng(0)
    prediction, target = generator.random((2, 30, 30)) < 0.05
    starts, ends = np.argwhere(prediction), np.argwhere(target)
    near = (np.linalg.norm(starts[:, None] - ends, axis=2) <= 2).any(axis=1)
    assert (near | ~match(prediction, target, 2.0)).all()
    assert not near.all()


def test_a_pixel_of_the_target_is_matched_once():
    prediction, target = np.zeros((2, 5, 5), dtype=bool)
    prediction[2, 1:4] = True
    target[2, 2] = True
    assert match(prediction, target, 1.0).sum() == 1


@pytest.mark.parametrize(("predicted", "true"), [(0, 1), (1, 0), (0, 0)])
def test_nothing_is_matched_to_nothing(predicted, true):
    prediction, target = np.full((4, 4), bool(predicted)), np.full((4, 4), bool(true))
    assert not match(prediction, target, 2.0).any()


def test_many_long_curves_are_matched_as_one_is():
    # On these, alternating paths wind along the whole curve. Each line is in reach of one other.
    rows, columns = np.indices((300, 300))
    prediction, target = (rows % 6 == 0) & (columns % 97 != 0), (rows % 6 == 2) & (columns > 3)
    assert match(prediction, target, 2.5).sum() == 50 * literal(prediction[:3], target[:3], 2.5)
