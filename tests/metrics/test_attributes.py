"""Errors and F-scores of attributes against loops over attributes."""

import numpy as np
import pytest
import torch

from lightning_mtl.metrics import AttributeMetrics, attributes


def literal(logits: np.ndarray, target: np.ndarray) -> dict[str, float]:
    errors, scores = [], []
    for found, true in zip((logits > 0).T, target.T, strict=True):
        known = true != 255
        if not known.any():
            continue
        found, true = found[known], true[known] == 1
        errors.append((found != true).mean())
        if found.any() or true.any():
            precision = (found & true).sum() / max(found.sum(), 1)
            recall = (found & true).sum() / max(true.sum(), 1)
            total = precision + recall
            scores.append(2 * precision * recall / total if total else 0)
    return {"error": np.mean(errors), "F": np.mean(scores)}


def example() -> tuple[torch.Tensor, torch.Tensor]:
    target = (torch.rand(20, 6) < torch.linspace(0, 0.8, 6)).float()
    target = torch.where(torch.rand(20, 6) < 0.3, 255, target)
    target[:, 3] = 255
    logits = torch.randn(20, 6)
    logits[:, 0] = -1
    return logits, target


def values_of(metric: AttributeMetrics, *pair: torch.Tensor) -> dict[str, float]:
    metric.update(*pair)
    return {name: value.item() for name, value in metric.compute().items()}


def test_values_equal_the_literal_counts_with_unknown_and_absent_attributes():
    logits, target = example()
    expected = literal(logits.numpy(), target.numpy())
    assert values_of(AttributeMetrics(6), logits, target) == pytest.approx(expected)


def test_rare_attributes_weigh_as_much_as_frequent_ones():
    target = torch.tensor([[1.0, 255.0], [1.0, 255.0], [1.0, 1.0]])
    logits = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, -1.0]])
    assert values_of(AttributeMetrics(2), logits, target) == {"error": 0.5, "F": 0.5}


def test_a_dense_prediction_counts_by_its_mean():
    logits, target = example()
    dense = logits[:, :, None, None] + torch.tensor([[0.5, -0.5]])
    expected = values_of(AttributeMetrics(6), logits, target)
    assert values_of(AttributeMetrics(6), dense, target) == pytest.approx(expected)


def test_without_any_true_or_predicted_attribute_f_is_zero():
    values = values_of(AttributeMetrics(2), torch.full((3, 2), -1.0), torch.zeros(3, 2))
    assert values == {"error": 0, "F": 0}


def test_a_prediction_of_nan_is_wrong_whatever_the_label():
    values = values_of(AttributeMetrics(1), torch.full((4, 1), torch.nan), torch.eye(4)[:, :1])
    assert values == {"error": 1, "F": 0}


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 5), r"prediction of `\w+` should be of shape \(N, 6\)"),
        ((3, 6), r"target of `\w+` should be of shape"),
    ],
    ids=["prediction", "target"],
)
def test_a_wrong_shape_is_an_error(shape, message):
    with pytest.raises(ValueError, match=message):
        AttributeMetrics(6).update(torch.zeros(shape), torch.zeros(2, 6))


def test_no_attribute_is_an_error():
    with pytest.raises(
        ValueError, match=r"`AttributeMetrics\(num_attributes=\)` should be at least 1\. Found 0"
    ):
        AttributeMetrics(0)


@pytest.mark.parametrize("label", [7, -1, torch.nan], ids=["seven", "minus one", "nan"])
def test_a_label_that_is_none_is_an_error_at_once_or_from_a_device_when_computing(
    label, monkeypatch
):
    target = torch.tensor([[0, label], [255, 1]], dtype=torch.float32)
    with pytest.raises(ValueError, match=r"labels from 0 to 1, or 255 .* Found 1 other value"):
        AttributeMetrics(2).update(torch.zeros(2, 2), target)
    monkeypatch.setattr(attributes, "on_host", lambda target: False)
    metric = AttributeMetrics(2)
    metric.update(torch.zeros(2, 2), target)
    with pytest.raises(ValueError, match="Found 1 others"):
        metric.compute()
