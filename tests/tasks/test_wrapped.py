"""Human parts and disparity: other tasks under names of their own."""

import pytest
import torch

from lightning_mtl.tasks import Depth, Disparity, HumanParts, Segmentation


@pytest.mark.parametrize(
    ("task", "other", "target"),
    [
        (HumanParts(), Segmentation(7), torch.randint(0, 7, (2, 4, 5))),
        (Disparity(), Depth(), torch.rand(2, 1, 4, 5)),
    ],
)
def test_they_do_what_the_other_does(task, other, target):
    prediction = torch.randn(2, task.out_channels, 4, 5)
    assert task.loss(prediction, target) == other.loss(prediction, target)
    assert torch.equal(task.draw(prediction, target), other.draw(prediction, target))
    assert torch.equal(task.draw_target(target), other.draw_target(target))
    assert torch.equal(task.pixel_sum(target)[0], other.pixel_sum(target)[0])


def test_they_are_compared_by_the_metrics_of_the_papers():
    assert (HumanParts().primary_metric, HumanParts().higher_is_better) == ("mIoU", True)
    assert (Disparity().primary_metric, Disparity().higher_is_better) == ("abs_err", False)
    assert HumanParts(protocol="survey").metrics().absent_classes == "zero"


def test_disparity_needs_a_protocol_with_its_metric():
    assert Disparity(protocol="mtan").primary_metric == "abs_err"
    with pytest.raises(
        ValueError, match=r"be one with `abs_err`. Found 'astmt', which has \['RMSE'\]"
    ):
        Disparity(protocol="astmt")
