"""Accuracy against counting by hand."""

import pytest
import torch

from lightning_mtl.metrics import ClassificationMetrics, classification


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


@pytest.mark.parametrize("label", [3, -1])
def test_a_label_outside_the_classes_is_an_error(label):
    with pytest.raises(ValueError, match=r"from 0 to 2, or 255 .* Found labels outside from"):
        ClassificationMetrics().update(torch.zeros(2, 3), torch.tensor([0, label]))


def test_a_label_outside_the_classes_on_a_device_is_an_error_when_computing(monkeypatch):
    monkeypatch.setattr(classification, "on_host", lambda target: False)
    metric = ClassificationMetrics()
    metric.update(torch.zeros(4, 3), torch.tensor([0, 3, 255, -1]))
    with pytest.raises(ValueError, match="Found labels outside in 2 images"):
        metric.compute()


def test_floating_labels_are_an_error():
    with pytest.raises(TypeError, match=r"of an integer type\. Found torch\.float32"):
        ClassificationMetrics().update(torch.zeros(1, 3), torch.tensor([torch.nan]))
