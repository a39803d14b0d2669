"""Tuning: the budget, the weights of a run, and the comparison on validation."""

import pytest
import torch

from lightning_mtl.diagnosis.examination import examine
from lightning_mtl.diagnosis.tuner import Budget, compare_candidates, evened, primary_columns
from tests.diagnosis.patients import (
    Broken,
    Dominated,
    Healthy,
    PatientData,
    Unlabelled,
    make_trainer,
)


class Scaled(Healthy):
    """The loss of one task is multiplied."""

    def __init__(self, factor: float) -> None:
        # So slow that the factor does not change the parameters.
        super().__init__(lr=1e-8)
        self.factor = factor

    def task_losses(self, batch):
        losses = super().task_losses(batch)
        return losses | {"two": self.factor * losses["two"]}


def run(module, steps=30):
    torch.manual_seed(0)
    return examine(make_trainer, module, PatientData(), max_steps=steps)


def test_a_fifth_of_the_run_is_the_budget():
    budget = Budget()
    trainer = make_trainer([budget], max_epochs=5)
    trainer.fit(Healthy(), PatientData(length=320))
    assert trainer.global_step == budget.steps == 10


def test_given_steps_are_the_budget():
    budget = Budget(7)
    trainer = make_trainer([budget], max_epochs=2)
    trainer.fit(Healthy(), PatientData())
    assert trainer.global_step == 7


def test_a_run_without_end_needs_steps():
    with pytest.raises(ValueError, match="should have an end"):
        make_trainer([Budget()], max_epochs=-1, max_steps=-1).fit(Healthy(), PatientData())


@pytest.mark.parametrize("factor", [0.2, 10.0])
def test_the_weight_of_a_scaled_loss_is_divided_by_the_scale(factor):
    plain, scaled = (evened(run(Scaled(each))).weights for each in (1.0, factor))
    ratio = (scaled["one"] / scaled["two"]) / (plain["one"] / plain["two"])
    assert ratio == pytest.approx(factor, rel=1e-3)


def test_a_dominated_task_weighs_more_and_gradients_become_even():
    found = evened(run(Dominated()))
    assert found.weights["two"] > 10 * found.weights["one"]
    assert sum(found.weights.values()) == pytest.approx(2)
    assert found.after < 4 < 100 < found.before
    assert found.steps == 30


@pytest.mark.parametrize(
    ("module", "steps", "message"),
    [
        (Broken, 10, "should be finite. Found that it is not at step 5"),
        (Unlabelled, 10, "Every task should be trained"),
        (Healthy, 1, "more `--steps`"),
    ],
    ids=["broken", "dead", "too short"],
)
def test_runs_that_tell_nothing_are_refused(module, steps, message):
    with pytest.raises(ValueError, match=message):
        evened(run(module(), steps))


def test_candidates_are_compared_with_equal_weights():
    def results(weights):
        return {"one": 10.0 * weights["one"], "two": 5.0}

    directions = {"one": True, "two": False}
    found = compare_candidates(results, directions, {"one": 1.5, "two": 0.5}, 2, seed=0)
    assert [each.name for each in found] == ["equal", "even gradients", "random 1", "random 2"]
    assert [each.improvement for each in found[:2]] == pytest.approx([0, 25])
    for each in found[2:]:
        assert each.improvement == pytest.approx(50 * (each.weights["one"] - 1))


def test_metrics_are_found_with_their_direction():
    found = primary_columns(Healthy(), ["one", "two"])
    assert found["one"] == ("val/one/MeanSquaredError", False)


def test_a_task_without_a_metric_is_refused():
    with pytest.raises(ValueError, match="Found none of `three`"):
        primary_columns(Healthy(), ["one", "three"])
