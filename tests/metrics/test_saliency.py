"""Saliency against the literal protocols of the papers."""

import numpy as np
import pytest
import torch

from lightning_mtl.metrics import SaliencyMetrics


def survey(probability: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """Images one by one, as the survey's code goes through them."""
    scores, ious = [], []
    for threshold in np.linspace(0.2, 0.9, 15):
        per_image = []
        for p, t in zip(probability, target, strict=True):
            if (t == 255).all():
                continue
            found, true = (p > threshold)[t != 255], (t >= 0.5)[t != 255]
            hits = (found & true).sum()
            union = (found | true).sum()
            iou = hits / union if union else 1
            per_image.append((iou, hits / (found.sum() + 1e-12), hits / (true.sum() + 1e-12)))
        iou, precision, recall = np.mean(per_image, axis=0)
        ious.append(iou)
        scores.append(2 * precision * recall / (precision + recall + 1e-12))
    return {"maxF": max(scores), "mIoU": max(ious)}


def atrc(
    probability: np.ndarray, target: np.ndarray, beta_squared: float = 0.3
) -> dict[str, float]:
    """The best scores of counts over all images."""
    scores, ious = [], []
    p, t = probability[target != 255], target[target != 255] == 1
    for threshold in np.arange(0.05, 1, 0.05, dtype=np.float32):
        found = p >= threshold
        precision, recall = (found & t).sum() / max(found.sum(), 1), (found & t).sum() / t.sum()
        divisor = beta_squared * precision + recall
        scores.append((1 + beta_squared) * precision * recall / divisor if divisor else 0)
        ious.append((found & t).sum() / (found | t).sum())
    return {"maxF": max(scores), "mIoU": max(ious)}


def example() -> tuple[torch.Tensor, torch.Tensor]:
    target = (torch.rand(5, 9, 11) < 0.3).float()
    probability = (0.4 * target + 0.6 * torch.rand(5, 9, 11)) * 0.95
    target[0], target[1], probability[1] = 255, 0, 0.1
    return probability, torch.where(torch.rand(5, 9, 11) < 0.2, 255, target)


def values_of(metric: SaliencyMetrics, *pair: torch.Tensor) -> dict[str, float]:
    metric.update(*pair)
    return {name: value.item() for name, value in metric.compute().items()}


@pytest.mark.parametrize("protocol", ["survey", "astmt"])
def test_values_equal_the_literal_means_over_images(protocol):
    probability, target = example()
    expected = survey(probability.double().numpy(), target.numpy())
    assert values_of(SaliencyMetrics(protocol), probability, target) == pytest.approx(expected)


@pytest.mark.parametrize("beta_squared", [None, 1.0])
def test_values_equal_the_literal_counts_over_the_data_set(beta_squared):
    probability, target = example()
    found = values_of(SaliencyMetrics("atrc", beta_squared=beta_squared), probability, target)
    expected = atrc(probability.numpy(), target.numpy(), beta_squared or 0.3)
    assert found == pytest.approx(expected)


def test_a_perfect_prediction_scores_one():
    target = (torch.rand(3, 6, 7) < 0.4).float()
    for protocol in ("survey", "atrc"):
        assert values_of(SaliencyMetrics(protocol), target, target) == {"maxF": 1, "mIoU": 1}


def test_protocols_differ_where_images_are_of_unequal_size():
    target = torch.zeros(2, 4, 5)
    target[0, 0, 0], target[1] = 1, 1
    prediction = target.clone()
    prediction[0, 1] = 1
    per_image = values_of(SaliencyMetrics(), prediction, target)
    pooled = values_of(SaliencyMetrics(pooled=True), prediction, target)
    assert per_image["mIoU"] == pytest.approx((1 / 6 + 1) / 2)
    assert pooled["mIoU"] == pytest.approx(21 / 26)


@pytest.mark.parametrize(("protocol", "found"), [("survey", 0), ("atrc", 1)])
def test_a_probability_at_the_threshold_counts_as_the_protocol_says(protocol, found):
    metric = SaliencyMetrics(protocol, thresholds=[0.5])
    assert values_of(metric, torch.full((1, 2, 2), 0.5), torch.ones(1, 2, 2))["maxF"] == found


def test_logits_are_probabilities_after_the_sigmoid():
    probability, target = example()
    logits = 3 * probability - 1
    raw = values_of(SaliencyMetrics(logits=True), logits[:, None], target)
    assert raw == values_of(SaliencyMetrics(), torch.sigmoid(logits), target)


def test_an_unknown_protocol_is_an_error_that_lists_those_known():
    match = r"""\(protocol=\)` should be one of "astmt", "atrc", "survey"\. Found 'mtan'"""
    with pytest.raises(ValueError, match=match):
        SaliencyMetrics("mtan")


@pytest.mark.parametrize(
    ("prediction", "target", "message"),
    [
        (
            torch.zeros(2, 4, 4),
            torch.zeros(2, 4, 5),
            r"target of `\w+` should be of shape \(2, 4, 4\)",
        ),
        (
            torch.zeros(1, 2, 4, 4),
            torch.zeros(1, 4, 4),
            r"prediction of `\w+` should be of shape \(N, 1, H, W\)",
        ),
        (torch.full((1, 4, 4), -2.0), torch.zeros(1, 4, 4), r"from 0 to 1. Found.*-2.*logits"),
    ],
    ids=["target of another size", "two channels", "logits"],
)
def test_wrong_input_is_an_error_that_says_what_was_expected(prediction, target, message):
    with pytest.raises(ValueError, match=message):
        SaliencyMetrics().update(prediction, target)


@pytest.mark.parametrize("protocol", ["survey", "atrc"])
def test_a_prediction_of_nan_is_wrong_whatever_the_target(protocol):
    target = torch.stack([torch.zeros(4, 5), torch.eye(5)[:4]])
    values = values_of(SaliencyMetrics(protocol), torch.full((2, 4, 5), torch.nan), target)
    assert values == {"maxF": 0, "mIoU": 0}


@pytest.mark.parametrize("arguments", [{"thresholds": [0.5, 5]}, {"beta_squared": -1}])
def test_an_argument_out_of_range_is_an_error(arguments):
    with pytest.raises(ValueError, match=r"`SaliencyMetrics\(\w+=\)` should be"):
        SaliencyMetrics(**arguments)


def test_no_threshold_is_an_error():
    with pytest.raises(ValueError, match="at least one threshold"):
        SaliencyMetrics(thresholds=[])
