"""Distances of keypoints against loops over heatmaps."""

import math

import numpy as np
import pytest
import torch

from lightning_mtl.metrics import KeypointMetrics


def position(heatmap: np.ndarray) -> np.ndarray:
    return np.array(np.unravel_index(heatmap.argmax(), heatmap.shape))


def mean_position(heatmap: np.ndarray, temperature: float) -> np.ndarray:
    share = np.exp(temperature * heatmap)
    share /= share.sum()
    rows, columns = np.indices(heatmap.shape)
    return np.array([(share * rows).sum(), (share * columns).sum()])


def literal(prediction, target, alpha: float, decode=position) -> dict[str, float]:
    side = max(target.shape[2:])
    distances = [
        np.linalg.norm(decode(p) - position(t))
        for image, truth in zip(prediction, target, strict=True)
        for p, t in zip(image, truth, strict=True)
        if t.any()
    ]
    return {
        "error": np.mean(distances),
        "relative_error": np.mean(distances) / side,
        "PCK": np.mean([distance <= alpha * side for distance in distances]),
    }


def example() -> tuple[torch.Tensor, torch.Tensor]:
    target = torch.rand(3, 4, 7, 9)
    return torch.randn(3, 4, 7, 9), torch.where(torch.rand(3, 4, 1, 1) < 0.3, 0, target)


def values_of(metric: KeypointMetrics, *pair: torch.Tensor) -> dict[str, float]:
    metric.update(*pair)
    return {name: value.item() for name, value in metric.compute().items()}


@pytest.mark.parametrize("alpha", [0.1, 0.5])
def test_values_equal_the_literal_distances(alpha):
    prediction, target = example()
    expected = literal(prediction.numpy(), target.numpy(), alpha)
    assert values_of(KeypointMetrics(alpha), prediction, target) == pytest.approx(expected)


def test_the_mean_position_equals_the_literal_one():
    prediction, target = example()
    metric = KeypointMetrics(0.5, decode="soft_argmax", temperature=1.5)
    expected = literal(
        prediction.double().numpy(), target.numpy(), 0.5, lambda p: mean_position(p, 1.5)
    )
    assert values_of(metric, prediction, target) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("decode", ["argmax", "soft_argmax"])
def test_a_perfect_prediction_has_no_error(decode):
    target = torch.zeros(1, 2, 8, 8)
    target[0, 0, 2, 5] = target[0, 1, 7, 0] = 1
    values = values_of(KeypointMetrics(decode=decode), target, target)
    assert values == pytest.approx({"error": 0, "relative_error": 0, "PCK": 1}, abs=1e-6)


def test_the_scale_of_a_prediction_does_not_matter():
    prediction, target = example()
    expected = values_of(KeypointMetrics(), prediction, target)
    assert values_of(KeypointMetrics(), 100 * prediction - 5, target) == expected


def test_an_unknown_decoding_is_an_error():
    with pytest.raises(ValueError, match="Found 'mean'"):
        KeypointMetrics(decode="mean")


@pytest.mark.parametrize("arguments", [{"alpha": -1}, {"temperature": -1}])
def test_an_argument_out_of_range_is_an_error(arguments):
    with pytest.raises(ValueError, match=r"should be at least 0\. Found -1"):
        KeypointMetrics(**arguments)


@pytest.mark.parametrize("decode", ["argmax", "soft_argmax"])
def test_a_heatmap_of_nan_is_nowhere(decode):
    target = torch.zeros(1, 2, 8, 8)
    target[:, :, 0, 0] = 1
    prediction = target.clone()
    prediction[0, 1] = torch.nan
    values = values_of(KeypointMetrics(decode=decode), prediction, target)
    assert math.isnan(values["error"])
    assert values["PCK"] == 0.5


@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (1, 2, 4, 5), (2, 4, 4)])
def test_a_wrong_shape_is_an_error(shape):
    with pytest.raises(ValueError, match="target of `KeypointMetrics` should be of shape"):
        KeypointMetrics().update(torch.zeros(1, 2, 4, 4), torch.zeros(shape))
