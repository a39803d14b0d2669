"""Accuracy against counting by hand."""

import pytest
import torch

from lightning_mtl.metrics import ClassificationMetrics


def test_accuracy_is_the_share_of_labelled_images_that_are_right():
    logits = torch.randn(30, 5)
    target = torch.where(torch.rand(30) < 0.3, 255, torch.randint(0, 5, (30,)))
    pairs = [(int(row.argmax()), int(t)) for row, t in zip(logits, target, strict=True) if t != 255]
    metric = ClassificationMetrics()
    metric.update(logits, target)
    expected = sum(p == t for p, t in pairs) / len(pairs)
    assert metric.compute()["accuracy"] == pytest.approx(expected)


def test_an_image_of_nan_is_wrong_whatever_its_class():
    metric = ClassificationMetrics()
    metric.update(torch.full((2, 3), torch.nan), torch.tensor([0, 2]))
    assert metric.compute()["accuracy"] == 0


def test_a_dense_prediction_counts_by_its_mean():
    logits = torch.tensor([[[[3.0, -3.0]], [[1.0, 1.0]]]])
    metric = ClassificationMetrics()
    metric.update(logits, torch.tensor([1]))
    assert metric.compute()["accuracy"] == 1


def test_a_wrong_shape_is_an_error():
    with pytest.raises(
        ValueError,
        match=r"target of `\w+` should be of shape \(2\). Found \(2, 1\)",
    ):
        ClassificationMetrics().update(torch.zeros(2, 3), torch.zeros(2, 1, dtype=torch.long))
