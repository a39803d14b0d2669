"""Errors of regression against sums by hand."""

import numpy as np
import pytest
import torch

from lightning_mtl.metrics import RegressionMetrics


def test_values_equal_the_literal_errors_of_known_numbers():
    target = torch.randn(8, 3)
    prediction = target + torch.randn(8, 3)
    target = torch.where(torch.rand(8, 3) < 0.3, torch.nan, target)
    metric = RegressionMetrics()
    metric.update(prediction, target)
    errors = [float(p - t) for p, t in zip(prediction.flatten(), target.flatten(), strict=True)]
    errors = [error for error in errors if error == error]
    expected = {"RMSE": np.sqrt(np.mean(np.square(errors))), "abs_err": np.mean(np.abs(errors))}
    assert metric.compute() == pytest.approx(expected)


def test_a_dense_prediction_counts_by_its_mean():
    metric = RegressionMetrics()
    metric.update(torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[2.0]]))
    assert metric.compute() == {"RMSE": 0, "abs_err": 0}


def test_a_wrong_shape_is_an_error():
    with pytest.raises(
        ValueError, match=r"target of `\w+` should be of shape \(2, 3\). Found \(2,\)"
    ):
        RegressionMetrics().update(torch.zeros(2, 3), torch.zeros(2))
