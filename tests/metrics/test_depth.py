"""Depth errors against loops over pixels."""

import math

import numpy as np
import pytest
import torch

from lightning_mtl.metrics import DepthMetrics


def literal(prediction: np.ndarray, target: np.ndarray, lift: bool) -> dict[str, float]:
    pairs = [(p, t) for p, t in zip(prediction.flat, target.flat, strict=True) if t != 0]
    lifted = [(1e-9 if p <= 0 else p, t) for p, t in pairs]
    compared = lifted if lift else pairs
    ratios = [max(p / t, t / p) for p, t in lifted]
    return {
        "RMSE": math.sqrt(np.mean([(p - t) ** 2 for p, t in compared])),
        "log_RMSE": math.sqrt(np.mean([(math.log(p) - math.log(t)) ** 2 for p, t in lifted])),
        "abs_err": np.mean([abs(p - t) for p, t in compared]),
        "rel_err": np.mean([abs(p - t) / t for p, t in compared]),
        **{f"delta{k}": np.mean([ratio < 1.25**k for ratio in ratios]) for k in (1, 2, 3)},
    }


def test_a_perfect_prediction_has_no_error():
    depth = torch.rand(2, 1, 4, 5) + 0.1
    metrics = DepthMetrics()
    metrics.update(depth, depth)
    zeros = dict.fromkeys(("RMSE", "log_RMSE", "abs_err", "rel_err"), 0)
    assert metrics.compute() == zeros | {"delta1": 1, "delta2": 1, "delta3": 1}


@pytest.mark.parametrize("lift", [True, False], ids=["lifted", "raw"])
def test_values_equal_the_literal_sums_with_invalid_targets_and_negative_predictions(lift):
    target = torch.rand(3, 1, 9, 7) * 5
    target = torch.where(torch.rand_like(target) < 0.4, 0, target)
    prediction = target + torch.randn_like(target)
    assert (prediction < 0).any()
    metrics = DepthMetrics(lift)
    metrics.update(prediction, target)
    expected = literal(prediction.double().numpy(), target.double().numpy(), lift)
    assert metrics.compute() == pytest.approx(expected, rel=1e-5)


def test_what_is_predicted_where_the_target_is_invalid_does_not_matter():
    metrics = DepthMetrics()
    prediction = torch.tensor([1.0, math.nan, math.inf]).view(1, 1, 1, 3)
    metrics.update(prediction, torch.tensor([1.0, 0.0, 0.0]).view(1, 1, 1, 3))
    assert metrics.compute()["RMSE"] == 0


def test_a_prediction_of_nan_shows():
    metrics = DepthMetrics()
    metrics.update(torch.full((1, 1, 1, 1), math.nan), torch.ones(1, 1, 1, 1))
    assert metrics.compute()["RMSE"].isnan()
    assert metrics.compute()["delta3"] == 0


@pytest.mark.parametrize(
    ("prediction", "target", "message"),
    [
        (
            (1, 4, 4),
            (1, 4, 4),
            r"prediction of `\w+` should be of shape \(N, 1, H, W\). Found \(1, 4, 4\)",
        ),
        (
            (1, 2, 4, 4),
            (1, 2, 4, 4),
            r"prediction of `\w+` should be of shape \(N, 1, H, W\)",
        ),
        (
            (1, 1, 4, 4),
            (1, 4, 4),
            r"target of `\w+` should be of shape \(1, 1, 4, 4\). Found \(1, 4, 4\)",
        ),
    ],
    ids=["no channel", "two channels", "target without a channel"],
)
def test_a_wrong_shape_is_an_error_with_both_shapes(prediction, target, message):
    with pytest.raises(ValueError, match=message):
        DepthMetrics().update(torch.zeros(prediction), torch.zeros(target))
