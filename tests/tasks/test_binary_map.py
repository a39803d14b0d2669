"""Edges and saliency as tasks."""

import pytest
import torch

from lightning_mtl.losses import balanced_binary_cross_entropy
from lightning_mtl.tasks import Edges, Saliency


def labels() -> torch.Tensor:
    target = (torch.rand(2, 12, 15) < 0.2).float()
    return torch.where(torch.rand(2, 12, 15) < 0.1, 255, target)


@pytest.mark.parametrize(("task", "weight"), [(Edges(), 0.95), (Saliency(), None)])
def test_the_loss_is_balanced_as_in_the_survey(task, weight):
    logits, target = torch.randn(2, 1, 12, 15), labels()
    expected = balanced_binary_cross_entropy(logits[:, 0], target, weight)
    assert task.loss(logits, target) == expected


@pytest.mark.parametrize("task", [Edges(), Saliency()])
def test_the_constant_predictor_is_the_share_of_positive_pixels(task):
    target = torch.tensor([[[1.0, 0.0, 0.0, 0.0, 255.0]]])
    total, count = task.pixel_sum(target)
    prediction = task.constant(total / count, target)
    assert torch.sigmoid(prediction).unique().tolist() == pytest.approx([0.25])


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_constant_predictor_of_one_class_is_finite(share):
    prediction = Edges().constant(torch.tensor([share]), torch.zeros(1, 2, 2))
    assert prediction.isfinite().all()
    assert (prediction > 0).all() == (share == 1)


@pytest.mark.parametrize("task", [Edges(thresholds=9), Saliency(), Saliency(protocol="atrc")])
def test_metrics_take_logits(task):
    target = labels()
    metrics = task.metrics()
    metrics.update((8 * torch.where(target == 255, 0, target) - 4)[:, None], target)
    assert metrics.compute()[task.primary_metric] > 0.9


def test_saliency_is_compared_by_what_the_papers_print():
    assert Saliency(protocol="survey").primary_metric == "mIoU"
    assert Saliency(protocol="atrc").primary_metric == "maxF"


def test_likely_pixels_are_brighter():
    picture = Edges().draw(torch.tensor([-3.0, 0.0, 3.0]).view(1, 1, 1, 3))
    assert (picture.mean(dim=1).diff() > 0).all()


@pytest.mark.parametrize("task", [Edges(), Saliency()])
def test_labels_that_are_neither_fail_the_check(task):
    with pytest.raises(ValueError, match=rf"{task.name}` should have labels of 0 and 1.*1 other"):
        task.check(torch.tensor([[[0.0, 1.0, 255.0, 0.3]]]))


@pytest.mark.parametrize("task", [Edges(), Saliency()])
def test_masks_of_8_bits_are_warned_of(task):
    mask = torch.tensor([[[0.0, 255.0, 0.0]], [[255.0, 255.0, 0.0]]])
    with pytest.warns(UserWarning, match=rf"{task.name}` .* 0 and 255 only.*divide them by 255"):
        task.check(mask)
    with pytest.raises(ValueError, match="should have labels of 0 and 1"):
        Saliency(ignore_index=-1).check(mask)


@pytest.mark.parametrize(
    "target",
    [
        [[[0.0, 255.0]], [[1.0, 255.0]]],
        [[[0.0, 0.0]], [[255.0, 255.0]]],
        [[[0.0, 0.0]], [[0.0, 0.0]]],
    ],
    ids=["another image has edges", "an image without labels", "nothing to find"],
)
def test_batches_that_cannot_be_masks_of_8_bits_are_not_warned_of(target):
    Edges().check(torch.tensor(target))


@pytest.mark.parametrize("make", [Edges, Saliency])
def test_an_unknown_protocol_is_an_error_at_once(make):
    with pytest.raises(ValueError, match="Found 'eigen'"):
        make(protocol="eigen")
