import math

import pytest
import torch

from lightning_mtl.callbacks import DynamicTaskPriority
from tests.toy import Toy, quiet_trainer, toy_loader

NAMES = {"one": "val/one", "two": "val/two"}


def test_weights_follow_the_focal_formula() -> None:
    weighting = DynamicTaskPriority({"a": "x", "b": "y"}, gamma=2.0)
    weighting.tasks = ("a", "b")
    weighting.observe({"a": 0.25, "b": 0.9})
    expected = [-(0.75**2) * math.log(0.25), -(0.1**2) * math.log(0.9)]
    torch.testing.assert_close(weighting.weights(torch.ones(2)), torch.tensor(expected))


def test_worse_tasks_weigh_more_and_perfect_ones_nothing() -> None:
    weighting = DynamicTaskPriority({"a": "x", "b": "y", "c": "z"})
    weighting.observe({"a": 0.1, "b": 0.6, "c": 1.0})
    weights = weighting.weights(torch.ones(3))
    assert weights[0] > weights[1] > weights[2] == 0


def test_indicators_are_averaged_from_the_first_on() -> None:
    weighting = DynamicTaskPriority({"a": "x"}, alpha=0.25, gamma=0.0)
    for value in (0.4, 0.8):
        weighting.observe({"a": value})
    expected = -math.log(0.25 * 0.8 + 0.75 * 0.4)
    assert float(weighting.weights(torch.ones(1))) == pytest.approx(expected)


def test_an_unseen_task_has_weight_one() -> None:
    weighting = DynamicTaskPriority({"a": "x"})
    weighting.tasks = ("a", "b")
    assert weighting.weights(torch.ones(2)).tolist() == [1, 1]
    weighting.observe({"a": 0.5})
    assert weighting.weights(torch.ones(2))[1] == 1


class Validated(Toy):
    def validation_step(self, batch, batch_idx):
        self.log("val/one", torch.tensor(0.3))
        self.log("val/two", torch.tensor(0.8))


def test_indicators_come_from_the_logged_metrics() -> None:
    weighting = DynamicTaskPriority(NAMES, gamma=1.0)
    module = Validated()
    trainer = quiet_trainer(callbacks=[weighting], max_epochs=2)
    trainer.fit(module, toy_loader(), toy_loader())
    expected = {"one": -0.7 * math.log(0.3), "two": -0.2 * math.log(0.8), "three": 1.0}
    assert {k: float(v) for k, v in module.task_weights.items()} == pytest.approx(expected)


def test_a_metric_that_nobody_logs_is_named() -> None:
    weighting = DynamicTaskPriority({"one": "val/none"})
    trainer = quiet_trainer(callbacks=[weighting])
    with pytest.raises(ValueError, match=r"val/none.*val/one"):
        trainer.fit(Validated(), toy_loader(), toy_loader())


@pytest.mark.parametrize("observed", [{"one": 1.5}, {"one": float("nan")}, {"four": 0.5}])
def test_what_is_no_indicator_is_refused(observed: dict) -> None:
    with pytest.raises(ValueError, match="indicator"):
        DynamicTaskPriority(NAMES).observe(observed)


@pytest.mark.parametrize("wrong", [{"gamma": -1.0}, {"alpha": 0.0}])
def test_wrong_arguments_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="DynamicTaskPriority"):
        DynamicTaskPriority(NAMES, **wrong)
