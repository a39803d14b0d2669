import math

import pytest
import torch

from lightning_mtl.callbacks import DynamicTaskPriority
from tests.support.rooms import RoomsData, small_module
from tests.support.toy import Toy, quiet_trainer, toy_loader

NAMES = {"one": "val/one", "two": "val/two"}


def test_weights_follow_the_focal_formula() -> None:
    weighting = DynamicTaskPriority(indicators={"a": "x", "b": "y"}, gamma=2.0)
    weighting.tasks = ("a", "b")
    weighting.observe({"a": 0.25, "b": 0.9})
    expected = [-(0.75**2) * math.log(0.25), -(0.1**2) * math.log(0.9)]
    torch.testing.assert_close(weighting.weights(torch.ones(2)), torch.tensor(expected))


def test_worse_tasks_weigh_more_and_perfect_ones_nothing() -> None:
    weighting = DynamicTaskPriority(indicators={"a": "x", "b": "y", "c": "z"})
    weighting.observe({"a": 0.1, "b": 0.6, "c": 1.0})
    weights = weighting.weights(torch.ones(3))
    assert weights[0] > weights[1] > weights[2] == 0


def test_indicators_are_averaged_from_the_first_on() -> None:
    weighting = DynamicTaskPriority(indicators={"a": "x"}, alpha=0.25, gamma=0.0)
    for value in (0.4, 0.8):
        weighting.observe({"a": value})
    expected = -math.log(0.25 * 0.8 + 0.75 * 0.4)
    assert float(weighting.weights(torch.ones(1))) == pytest.approx(expected)


def test_an_unseen_task_has_weight_one() -> None:
    weighting = DynamicTaskPriority(indicators={"a": "x"})
    weighting.tasks = ("a", "b")
    assert weighting.weights(torch.ones(2)).tolist() == [1, 1]
    weighting.observe({"a": 0.5})
    assert weighting.weights(torch.ones(2))[1] == 1


@pytest.mark.parametrize(("error", "expected"), [(4.0, 0.5), (12.0, 0.25), (1.0, 0.8), (0.0, 1.0)])
def test_an_error_counts_relative_to_the_first_one(error: float, expected: float) -> None:
    weighting = DynamicTaskPriority(indicators={"a": "x", "b": "y"})
    assert weighting.relative({"a": 4.0, "b": 2.0}) == {"a": 0.5, "b": 0.5}
    assert weighting.relative({"a": error}) == pytest.approx({"a": expected})


def test_no_error_from_the_first_on_is_perfect() -> None:
    assert DynamicTaskPriority(indicators={"a": "x"}).relative({"a": 0.0}) == {"a": 1.0}


def test_the_first_error_is_in_the_checkpoint() -> None:
    weighting, resumed = (DynamicTaskPriority(indicators={"a": "x"}) for _ in range(2))
    weighting.relative({"a": 4.0})
    resumed.load_state_dict(weighting.state_dict())
    assert resumed.relative({"a": 12.0}) == {"a": 0.25}


class Validated(Toy):
    seen = 0.3

    def validation_step(self, batch, batch_idx):
        self.log("val/one", torch.tensor(self.seen))
        self.log("val/two", torch.tensor(0.8))


def test_indicators_come_from_the_logged_metrics() -> None:
    weighting = DynamicTaskPriority(indicators=NAMES, gamma=1.0)
    module = Validated()
    trainer = quiet_trainer(callbacks=[weighting], max_epochs=2)
    trainer.fit(module, toy_loader(), toy_loader())
    expected = {"one": -0.7 * math.log(0.3), "two": -0.2 * math.log(0.8), "three": 1.0}
    found = {k: float(v) for k, v in module.task_weights.items()}
    # Logged in float32: of 0.8, both 1 - 0.8 and log 0.8 lose a digit.
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_validation_apart_from_the_training_moves_nothing() -> None:
    weighting = DynamicTaskPriority(indicators=NAMES)
    module = Validated()
    trainer = quiet_trainer(callbacks=[weighting])
    trainer.fit(module, toy_loader(), toy_loader())
    before = weighting.memory.tensors["indicator"]
    module.seen = 0.9
    trainer.validate(module, toy_loader(), verbose=False)
    torch.testing.assert_close(weighting.memory.tensors["indicator"], before, equal_nan=True)


def test_a_metric_that_nobody_logs_is_named() -> None:
    weighting = DynamicTaskPriority(indicators={"one": "val/none"})
    trainer = quiet_trainer(callbacks=[weighting])
    with pytest.raises(
        ValueError, match=r"should log the indicators \['val/none'\].*Found .*val/one.*Log them"
    ):
        trainer.fit(Validated(), toy_loader(), toy_loader())


def test_a_misspelt_task_is_named_at_the_first_step() -> None:
    weighting = DynamicTaskPriority(indicators={"on": "val/one", "two": "val/two"})
    trainer = quiet_trainer(callbacks=[weighting])
    with pytest.raises(ValueError, match=r"tasks among \['one', 'two', 'three'\]. Found \['on'\]"):
        trainer.fit(Validated(), toy_loader(), toy_loader())
    assert trainer.global_step == 0


def test_a_module_without_ready_made_tasks_needs_indicators() -> None:
    trainer = quiet_trainer(callbacks=[DynamicTaskPriority()])
    with pytest.raises(ValueError, match=r"`indicators`.*Found `Validated` and no indicators"):
        trainer.fit(Validated(), toy_loader(), toy_loader())


def test_ready_made_tasks_are_followed_by_their_primary_metrics() -> None:
    module = small_module()
    weighting = DynamicTaskPriority()
    logged: list[dict[str, float]] = []
    primary = {"one": "val/one/RMSE", "two": "val/two/mIoU", "three": "val/three/mean"}
    seen = weighting.observe

    def watch(indicators: dict[str, float]) -> None:
        metrics = trainer.callback_metrics
        logged.append({task: float(metrics[name]) for task, name in primary.items()})
        seen(indicators)

    weighting.observe = watch
    trainer = quiet_trainer(callbacks=[weighting], max_epochs=3)
    trainer.fit(module, RoomsData(batch_size=2, steps=2))
    first, last = logged[0], logged[1]
    kappa = {
        "one": first["one"] / (first["one"] + last["one"]),
        "two": max(last["two"], 1e-6),
        "three": first["three"] / (first["three"] + last["three"]),
    }
    expected = {task: -(1 - k) * math.log(k) for task, k in kappa.items()}
    found = {k: float(v) for k, v in module.task_weights.items()}
    # Logged in float32: of 0.8, both 1 - 0.8 and log 0.8 lose a digit.
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("observed", [{"one": 1.5}, {"one": float("nan")}, {"four": 0.5}])
def test_what_is_no_indicator_is_refused(observed: dict) -> None:
    with pytest.raises(ValueError, match="indicators"):
        DynamicTaskPriority(indicators=NAMES).observe(observed)


@pytest.mark.parametrize("wrong", [{"gamma": -1.0}, {"alpha": 0.0}])
def test_wrong_arguments_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="`DynamicTaskPriority` should have"):
        DynamicTaskPriority(indicators=NAMES, **wrong)
