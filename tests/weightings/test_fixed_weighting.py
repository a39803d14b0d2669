"""Fixed weights go by name."""

import pytest
import torch

from lightning_mtl.callbacks import FixedWeighting
from tests.support.presence import set_present
from tests.support.toy import TASKS, Toy, quiet_trainer, toy_loader

GIVEN = {"three": 3.0, "one": 1.0, "two": 2.0}


def test_weights_come_in_the_order_of_the_modules_tasks():
    module = Toy()
    quiet_trainer(callbacks=[FixedWeighting(GIVEN)], max_steps=1).fit(module, toy_loader())
    assert [float(module.task_weights[task]) for task in TASKS] == [1.0, 2.0, 3.0]


def test_only_the_weights_of_present_tasks_are_given():
    weighting = FixedWeighting(GIVEN)
    weighting.tasks = TASKS
    set_present(weighting, [0, 2])
    assert weighting.weights(torch.ones(2)).tolist() == [1.0, 3.0]


def test_zero_switches_a_task_off_with_its_head():
    module = Toy()
    before = [p.clone() for p in module.heads["two"].parameters()]
    weighting = FixedWeighting(GIVEN | {"two": 0.0})
    quiet_trainer(callbacks=[weighting]).fit(module, toy_loader())
    torch.testing.assert_close(list(module.heads["two"].parameters()), before)


@pytest.mark.parametrize("given", [{}, {"one": 1.0}, GIVEN | {"four": 1.0}])
def test_missing_and_unknown_names_are_an_error_that_shows_both_lists(given):
    with pytest.raises(ValueError, match=r"\['one', 'three', 'two'\]. Found") as error:
        quiet_trainer(callbacks=[FixedWeighting(given)]).fit(Toy(), toy_loader())
    assert str(sorted(given)) in str(error.value)
