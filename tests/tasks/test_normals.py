"""Surface normals as a task."""

import math

import pytest
import torch

from lightning_mtl.tasks import Normals


def pixel(*vector: float) -> torch.Tensor:
    return torch.tensor(vector).view(1, 3, 1, 1)


@pytest.mark.parametrize(
    ("normal", "color"),
    [
        ((0.0, 0.0, -1.0), (0.5, 0.5, 1.0)),
        ((0.0, -1.0, 0.0), (0.5, 1.0, 0.5)),
        ((1.0, 0.0, 0.0), (1.0, 0.5, 0.5)),
    ],
    ids=["a wall seen head on is blue", "a floor is green", "facing right is red"],
)
def test_colours_are_the_usual_ones(normal, color):
    assert Normals().draw_target(pixel(*normal)).flatten().tolist() == list(color)


def test_a_prediction_is_drawn_by_its_direction():
    task = Normals()
    torch.testing.assert_close(
        task.draw(pixel(0.0, 30.0, -40.0)), task.draw_target(pixel(0.0, 0.6, -0.8))
    )


def test_the_constant_predictor_is_the_mean_direction():
    task = Normals()
    target = torch.cat([pixel(0.6, 0.0, -0.8), pixel(-0.6, 0.0, -0.8), pixel(0.0, 0.0, 0.0)])
    total, count = task.pixel_sum(target)
    assert count == 2
    metrics = task.metrics()
    metrics.update(task.constant((total / count).float(), target), target)
    assert metrics.compute()["mean"] == pytest.approx(math.degrees(math.asin(0.6)))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [("l1", 0.2 / 3 + 0.6 / 3), ("l1_per_pixel", 0.8), ("cosine", 0.2)],
)
def test_the_loss_is_the_one_of_the_paper_that_was_chosen(loss, expected):
    prediction, target = pixel(0.0, 30.0, -40.0), pixel(0.0, 0.0, -1.0)
    assert Normals(loss=loss).loss(prediction, target) == pytest.approx(expected)


@pytest.mark.parametrize("length", [0.5, 1.1, math.nan])
def test_lengths_other_than_one_and_zero_fail_the_check(length):
    with pytest.raises(ValueError, match="`Normals normals` should have normals of length 1, or 0"):
        Normals().check(pixel(0.0, 0.0, length))
