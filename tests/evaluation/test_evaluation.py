"""Metrics of all tasks over one pass: absent tasks, baselines, and what is refused."""

import pytest
import torch
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassConfusionMatrix
from torchmetrics.regression import MeanAbsoluteError, R2Score

from lightning_mtl.evaluation.evaluation import Evaluation


def two_tasks(**arguments):
    metrics = {
        "price": MeanAbsoluteError(),
        "age": MetricCollection([R2Score(), MeanAbsoluteError()]),
    }
    return Evaluation(metrics, **arguments)


PRICE = (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 1.0]))
AGE = (torch.tensor([3.0, 5.0]), torch.tensor([3.0, 4.0]))


def test_a_task_without_any_target_has_no_values():
    evaluation = two_tasks()
    evaluation.update({"price": PRICE})
    assert evaluation.compute() == {"price": {"MeanAbsoluteError": torch.tensor(0.5)}}


def test_a_pass_forgets_the_one_before():
    evaluation = two_tasks()
    evaluation.update({"price": PRICE, "age": AGE})
    evaluation.reset()
    assert evaluation.compute() == {}
    evaluation.update({"price": (torch.ones(2), torch.ones(2))})
    assert evaluation.compute()["price"]["MeanAbsoluteError"] == 0


def test_delta_mtl_is_over_the_first_value_of_each_task():
    evaluation = two_tasks(baselines={"price": 1.0, "age": 0.5})
    evaluation.update({"price": PRICE, "age": AGE})
    values = evaluation.compute()
    assert values["age"]["R2Score"] == -1
    # Half the error is +50 %, and a fit of -1 instead of 0.5 is -300 %.
    assert evaluation.delta_mtl(values) == pytest.approx((50 - 300) / 2)


def test_delta_mtl_needs_a_value_of_every_task():
    evaluation = two_tasks(baselines={"price": 1.0, "age": 0.5})
    evaluation.update({"price": PRICE})
    assert evaluation.delta_mtl(evaluation.compute()) is None
    assert two_tasks().delta_mtl({}) is None


@pytest.mark.parametrize(
    ("baselines", "message"),
    [
        pytest.param({"price": 1.0}, "one number for each of", id="one missing"),
        pytest.param({"price": 1.0, "age": -1.0}, "positive", id="a negative one"),
    ],
)
def test_baselines_that_do_not_fit_are_refused(baselines, message):
    with pytest.raises(ValueError, match=message):
        two_tasks(baselines=baselines)


def test_a_baseline_of_a_metric_without_a_direction_is_refused():
    with pytest.raises(ValueError, match="should say whether higher is better"):
        Evaluation({"kind": MulticlassConfusionMatrix(2)}, {"kind": 1.0})


def test_a_metric_that_is_none_is_refused():
    with pytest.raises(TypeError, match="MetricCollection"):
        Evaluation({"price": torch.nn.L1Loss()})


def test_predictions_of_a_task_without_a_metric_are_refused():
    with pytest.raises(ValueError, match="Found `weight`"):
        two_tasks().update({"weight": PRICE})


def test_a_prediction_without_its_target_is_refused():
    with pytest.raises(TypeError, match="Found Tensor for the task `price`"):
        two_tasks().update({"price": PRICE[0]})
