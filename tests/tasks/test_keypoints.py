"""Keypoints as a task."""

import pytest
import torch

from lightning_mtl.tasks import Keypoints


def target() -> torch.Tensor:
    heatmaps = torch.zeros(2, 3, 4, 5)
    heatmaps[0, 0, 1, 2] = heatmaps[1, 2, 3, 4] = 1
    return heatmaps


def test_the_loss_is_the_squared_error_of_heatmaps_that_have_a_keypoint():
    prediction = torch.full((2, 3, 4, 5), 7.0)
    prediction[0, 0] = prediction[1, 2] = 0.5
    assert Keypoints(3).loss(prediction, target()) == 0.25


def test_the_pictures_of_a_perfect_prediction_and_of_its_target_are_the_same():
    task = Keypoints(3)
    assert torch.equal(task.draw(target()), task.draw_target(target()))
    assert (task.draw_target(target()).amax(dim=1) > 0).sum() == 2


def test_metrics_have_the_options_of_the_task():
    near = target().roll(1, dims=3)
    for alpha, share in ((0.1, 0), (0.2, 0.5)):
        metrics = Keypoints(3, alpha=alpha).metrics()
        metrics.update(near, target())
        assert metrics.compute()["PCK"] == share


@pytest.mark.parametrize("wrong", [-0.1, 1.5, float("nan")])
def test_values_that_are_no_heatmap_fail_the_check(wrong):
    with pytest.raises(ValueError, match=r"Keypoints keypoints` should have heatmaps.*1 other"):
        Keypoints(1).check(torch.tensor([[[[0.0, 1.0, wrong]]]]))
