"""Rules from numbers to words."""

import numpy as np
import pytest

from lightning_mtl.diagnosis.dead import dead_tasks
from lightning_mtl.diagnosis.estimates import estimate
from lightning_mtl.diagnosis.findings import find
from lightning_mtl.diagnosis.record import LossSeries, NonFinite, Record
from tests.diagnosis.series import measurements, noisy

STEPS = 80


def record(norms, losses=None, events=(), shared=100, weights=None):
    tasks = tuple(f"t{index}" for index in range(len(norms)))
    means = np.diag(norms) @ np.eye(len(norms), 50)
    if losses is None:
        losses = np.random.default_rng(0).uniform(1, 2, (STEPS, len(norms)))
    gradients = noisy(means, 0.1, STEPS, 0) * (np.array(norms) > 0)[:, None]
    measured = measurements(gradients, tasks, weights=weights)
    return Record(LossSeries(tasks, losses), measured, shared, STEPS, events)


def findings(given):
    return find(given, estimate(given, dead_tasks(given)))


@pytest.mark.parametrize(
    ("norms", "expected"),
    [
        ([1.0, 2.0], set()),
        ([1.0, 5.0], {"t1"}),
        ([1.0, 1.0, 2.0], set()),
        ([1.0, 1.0, 5.0], {"t2"}),
        ([3.0, 3.0, 3.0, 0.15], {"t3"}),
    ],
    ids=["twice", "five times", "twice of three", "five times of three", "one is drowned"],
)
def test_a_task_dominates_or_is_drowned_by_its_share(norms, expected):
    found = findings(record(norms))
    assert {finding.tasks[0] for finding in found if finding.kind == "dominated"} == expected


def test_shares_are_those_of_the_weighted_gradients():
    assert not findings(record([1.0, 10.0], weights=(10.0, 1.0)))
    assert findings(record([1.0, 1.0], weights=(10.0, 1.0)))[0].kind == "dominated"


def test_scales_are_told_apart_from_gradients():
    losses = np.random.default_rng(0).uniform(1, 2, (STEPS, 2)) * [1, 1000]
    (found,) = findings(record([1.0, 1.0], losses))
    assert found.kind == "scales"
    assert "3.0 orders of magnitude" in found.text
    assert "by a factor of 1.0" in found.text


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (np.full(STEPS, np.nan), "labels in 0 % of the batches"),
        (np.zeros(STEPS), "exactly 0 in every batch"),
        (np.full(STEPS, 0.7), "exactly 0.7 in every batch"),
        (np.where(np.arange(STEPS) == 3, 1.0, np.nan), "labels in 1.2 % of the batches"),
    ],
    ids=["absent", "zero", "constant", "nearly absent"],
)
def test_dead_tasks_are_told_why(column, reason):
    losses = np.stack([np.linspace(1, 2, STEPS), column], axis=1)
    (found,) = findings(record([1.0, 1.0], losses))
    assert (found.kind, found.tasks) == ("dead", ("t1",))
    assert reason in found.text


def test_a_task_without_gradient_is_dead_and_the_others_are_compared():
    found = findings(record([1.0, 0.0, 1.0]))
    assert [(finding.kind, finding.tasks) for finding in found] == [("dead", ("t1",))]


def test_what_is_not_finite_is_told_with_its_step():
    given = record([1.0, 1.0], events=[NonFinite("t1", 7, "loss")])
    assert "`t1` is not finite at step 7" in findings(given)[0].text


def test_a_single_task_has_nothing_to_be_compared_with():
    assert findings(record([1.0])) == []
