"""Angles between normals against the arc cosine of each pixel in float64."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from lightning_mtl.metrics import NormalMetrics

MEDIAN_BOUND = 0.0051


def literal(prediction: np.ndarray, target: np.ndarray) -> dict[str, float]:
    pairs = zip(
        *(x.transpose(0, 2, 3, 1).reshape(-1, 3) for x in (prediction, target)), strict=True
    )
    angles = []
    for p, t in pairs:
        if np.linalg.norm(t) > 0:
            cosine = p @ t / np.linalg.norm(p) / np.linalg.norm(t)
            angles.append(math.degrees(math.acos(np.clip(cosine, -1, 1))))
    return {
        "mean": np.mean(angles),
        "median": np.median(angles),
        "RMSE": math.sqrt(np.mean(np.square(angles))),
        **{f"within_{t:g}": np.mean([angle < t for angle in angles]) for t in (11.25, 22.5, 30)},
    }


def at_angles(*degrees: float) -> tuple[torch.Tensor, torch.Tensor]:
    radians = torch.tensor(degrees).deg2rad()
    prediction = torch.stack([radians.sin(), torch.zeros_like(radians), -radians.cos()])
    target = torch.tensor([0.0, 0.0, -1.0]).view(3, 1).expand_as(prediction)
    return prediction[None, :, None], target[None, :, None]


@pytest.mark.peer("O12")
@pytest.mark.parametrize(("height", "width"), [(8, 9), (7, 9)])
def test_values_equal_the_literal_angles_with_invalid_targets_and_any_length(height, width):
    target = functional.normalize(torch.randn(3, 3, height, width), dim=1)
    noise = torch.rand(3, 1, height, width) * torch.randn_like(target)
    prediction = (target + noise) * torch.rand(3, 1, height, width).mul(3).exp()
    target = torch.where(torch.rand(3, 1, height, width) < 0.4, 0, target)
    metrics = NormalMetrics()
    metrics.update(prediction, target)
    values = metrics.compute()
    expected = literal(prediction.double().numpy(), target.double().numpy())
    assert values.pop("median") == pytest.approx(expected.pop("median"), abs=MEDIAN_BOUND)
    assert values == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("angles", [(3.0,), (3.0, 170.0), (0.0, 50.0, 180.0), (1.0, 2.0, 8.0, 9.0)])
def test_the_median_is_within_half_a_bin_of_the_exact_one(angles):
    metrics = NormalMetrics()
    metrics.update(*at_angles(*angles))
    assert metrics.compute()["median"] == pytest.approx(np.median(angles), abs=MEDIAN_BOUND)


@pytest.mark.peer("O7")
def test_the_median_is_that_of_the_data_set_and_not_a_mean_over_batches():
    metrics = NormalMetrics()
    metrics.update(*at_angles(1.0, 2.0, 3.0))
    metrics.update(*at_angles(40.0))
    assert metrics.compute()["median"] == pytest.approx(2.5, abs=MEDIAN_BOUND)


@pytest.mark.peer("O15")
@pytest.mark.parametrize("degrees", [1e-3, 1e-2, 90.0, 179.99])
def test_small_and_large_angles_keep_their_digits(degrees):
    metrics = NormalMetrics()
    metrics.update(*at_angles(degrees))
    assert metrics.compute()["mean"] == pytest.approx(degrees, rel=1e-3)


@pytest.mark.peer("L22")
def test_a_normal_whose_components_add_up_to_zero_is_valid():
    target = torch.tensor([1.0, -1.0, 0.0]).view(1, 3, 1, 1)
    metrics = NormalMetrics()
    metrics.update(-target, target)
    assert metrics.compute()["mean"] == pytest.approx(180)


@pytest.mark.parametrize("scale", [1e-25, 1e-13, 1e20])
def test_the_length_of_a_prediction_does_not_matter(scale):
    target = torch.nn.functional.normalize(torch.randn(2, 3, 4, 5), dim=1)
    metrics = NormalMetrics()
    metrics.update(scale * target, target)
    assert metrics.compute()["mean"] < 1e-3


def test_a_prediction_of_zero_length_is_ninety_degrees_away():
    metrics = NormalMetrics()
    _, target = at_angles(0.0)
    metrics.update(torch.zeros_like(target), target)
    assert metrics.compute()["mean"] == pytest.approx(90)


def test_a_prediction_of_nan_shows_and_counts_as_the_largest_angle():
    prediction, target = at_angles(1.0, 1.0, 1.0)
    prediction[..., 0] = math.nan
    metrics = NormalMetrics()
    metrics.update(prediction, target)
    values = metrics.compute()
    assert values["mean"].isnan()
    assert values["median"] == pytest.approx(1, abs=MEDIAN_BOUND)
    assert values["within_30"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("prediction", "target", "message"),
    [
        (
            (1, 2, 4, 4),
            (1, 2, 4, 4),
            r"prediction of `\w+` should be of shape \(N, 3, H, W\). Found \(1, 2, 4, 4\)",
        ),
        (
            (1, 3, 4, 4),
            (1, 3, 2, 2),
            r"target of `\w+` should be of shape \(1, 3, 4, 4\). Found \(1, 3, 2, 2\)",
        ),
    ],
    ids=["two channels", "target of another size"],
)
def test_a_wrong_shape_is_an_error_with_both_shapes(prediction, target, message):
    with pytest.raises(ValueError, match=message):
        NormalMetrics().update(torch.zeros(prediction), torch.zeros(target))
