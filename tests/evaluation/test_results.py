"""Names, values and directions of any metric of torchmetrics."""

import pytest
import torch
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix
from torchmetrics.regression import MeanAbsoluteError, R2Score
from torchmetrics.wrappers import ClasswiseWrapper

from lightning_mtl.evaluation.results import directions_of, primary_of, read_values
from lightning_mtl.metrics import DepthMetrics


def updated(metric, prediction, target):
    metric.update(torch.tensor(prediction), torch.tensor(target))
    return metric


def test_a_metric_of_one_value_is_named_after_its_class():
    metric = updated(MeanAbsoluteError(), [1.0, 3.0], [1.0, 1.0])
    assert read_values("price", metric) == {"MeanAbsoluteError": torch.tensor(1.0)}
    assert directions_of(metric) == {"MeanAbsoluteError": False}


def test_a_collection_names_its_values():
    metric = MetricCollection({"error": MeanAbsoluteError(), "fit": R2Score()})
    updated(metric, [1.0, 3.0], [1.0, 2.0])
    assert read_values("price", metric) == {"error": torch.tensor(0.5), "fit": torch.tensor(-1.0)}
    assert directions_of(metric) == {"error": False, "fit": True}


def test_metrics_of_the_package_may_be_in_a_collection():
    metric = MetricCollection({"depth": DepthMetrics(), "error": MeanAbsoluteError()})
    ones = torch.ones(1, 1, 2, 2)
    metric.update(2 * ones, ones)
    values = read_values("depth", metric)
    assert values.keys() == directions_of(metric).keys()
    assert values["RMSE"] == values["error"] == 1


def test_results_are_compared_by_the_first_value_that_has_a_direction():
    matrix = MulticlassConfusionMatrix(3)
    assert primary_of(MetricCollection({"matrix": matrix, "accuracy": MulticlassAccuracy(3)})) == (
        "accuracy"
    )
    assert primary_of(matrix) is None
    assert primary_of(DepthMetrics()) == "RMSE"


def test_a_metric_without_a_number_is_refused_with_the_way_out():
    metric = updated(MulticlassAccuracy(2, average=None), [0, 1], [0, 0])
    with pytest.raises(TypeError, match="ClasswiseWrapper"):
        read_values("kind", metric)
    named = updated(ClasswiseWrapper(MulticlassAccuracy(2, average=None)), [0, 1], [0, 0])
    assert len(read_values("kind", named)) == 2


def test_what_is_no_number_beside_numbers_is_named_and_left_out():
    metric = MetricCollection([MulticlassAccuracy(2), MulticlassConfusionMatrix(2)])
    updated(metric, [0, 1], [0, 1])
    with pytest.warns(UserWarning, match="not logged: MulticlassConfusionMatrix"):
        values = read_values("kind", metric)
    assert values == {"MulticlassAccuracy": torch.tensor(1.0)}
