"""Means over images and batches against taking them by hand."""

import numpy as np
import pytest
import torch

from lightning_mtl.metrics import AveragedMetric, DepthMetrics, SegmentationMetrics


def depth() -> tuple[torch.Tensor, torch.Tensor]:
    target = torch.rand(5, 1, 6, 7) * 4 + 0.1
    prediction = target + torch.randn_like(target)
    target = torch.where(torch.rand_like(target) < torch.rand(5, 1, 1, 1), 0, target)
    target[2] = 0
    return prediction, target


def rmse(prediction: torch.Tensor, target: torch.Tensor) -> float:
    error = prediction.clamp(min=1e-9)[target > 0] - target[target > 0]
    return error.double().square().mean().sqrt().item()


def test_the_mean_over_images_leaves_out_those_without_a_label():
    prediction, target = depth()
    metric = AveragedMetric(DepthMetrics(), "images")
    for part in (slice(0, 2), slice(2, 5)):
        metric.update(prediction[part], target[part])
    expected = np.mean([rmse(prediction[i], target[i]) for i in (0, 1, 3, 4)])
    assert metric.compute()["RMSE"] == pytest.approx(expected, rel=1e-5)


def test_a_mean_over_batches_weighs_each_batch_alike():
    prediction, target = depth()
    metric = AveragedMetric(DepthMetrics(), "batches", names=["RMSE"])
    parts = slice(0, 1), slice(1, 5)
    for part in parts:
        metric.update(prediction[part], target[part])
    expected = np.mean([rmse(prediction[part], target[part]) for part in parts])
    assert metric.compute() == pytest.approx({"RMSE": expected}, rel=1e-5)


def test_it_is_another_number_than_that_of_the_data_set():
    prediction, target = depth()
    averaged, pooled = AveragedMetric(DepthMetrics(), "images"), DepthMetrics()
    for metric in (averaged, pooled):
        metric.update(prediction, target)
    assert averaged.compute()["RMSE"] < pooled.compute()["RMSE"]


def test_directions_are_those_of_the_values_taken():
    metric = AveragedMetric(DepthMetrics(), "images", names=["delta1", "RMSE"])
    assert metric.directions == {"delta1": True, "RMSE": False}


def test_other_groups_and_names_are_errors():
    with pytest.raises(ValueError, match="Found 'pixels'"):
        AveragedMetric(DepthMetrics(), "pixels")
    with pytest.raises(ValueError, match=r"names of \['mIoU', .* Found \['IoU'\]"):
        AveragedMetric(SegmentationMetrics(2), "images", names=["IoU"])
