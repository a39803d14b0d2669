"""Segmentation as a task."""

import pytest
import torch

from lightning_mtl.tasks import Segmentation


def test_prediction_and_target_of_a_class_have_one_colour():
    task = Segmentation(num_classes=4)
    target = torch.randint(0, 4, (2, 5, 6))
    logits = torch.nn.functional.one_hot(target, 4).movedim(-1, 1).float()
    assert torch.equal(task.draw(logits), task.draw_target(target))


def test_sums_count_the_pixels_of_each_class():
    total, count = Segmentation(num_classes=3).pixel_sum(torch.tensor([[[0, 2, 2, 255]]]))
    assert total.tolist() == [1, 0, 2]
    assert count == 3


def test_the_constant_predictor_is_the_majority_class():
    task = Segmentation(num_classes=3)
    target = torch.tensor([[[0, 2, 2, 255]]])
    total, count = task.pixel_sum(target)
    metrics = task.metrics()
    metrics.update(task.constant(total / count, target), target)
    assert metrics.compute()["pixel_accuracy"] == pytest.approx(2 / 3)


def test_a_label_outside_the_classes_fails_the_check():
    message = (
        r"`Segmentation parts` should have labels from 0 to 2, or -1.*from 3 to 200 in 2 pixels"
    )
    with pytest.raises(ValueError, match=message):
        Segmentation(3, name="parts", ignore_index=-1).check(torch.tensor([[[-1, 0, 3, 200]]]))
