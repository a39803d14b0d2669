"""A task with a zero gradient, as a batch without a valid label has: absent, or counted in a mean.

Where it counts as absent, the direction is that of the other tasks. Where a rule takes the mean
over all K tasks, it is (K-1)/K of theirs. Every rule holds to one of the two.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lightning_mtl.callbacks import (
    MGDA,
    CAGrad,
    FairGrad,
    GradDrop,
    GramianWeighting,
    JacobianWeighting,
    MaxGNR,
    MoCo,
    MoDo,
    SDMGrad,
)
from lightning_mtl.catalogue import weightings
from tests.support.jacobians import agreeing_jacobian, random_jacobian
from tests.support.presence import set_present

Rule = GramianWeighting | JacobianWeighting

SPECIAL: dict[str, Callable[[], Rule]] = {
    "CAGrad(linear)": lambda: CAGrad(c=2.0, rescale="linear"),
    "FairGrad(2)": lambda: FairGrad(alpha=2.0),
    "GradDrop": lambda: GradDrop(seed=0),
    "MaxGNR": lambda: MaxGNR(warmup_steps=0),
    "MGDA(l2)": lambda: MGDA(normalize="l2"),
    # Before their weights have moved: a step from 1/K is not (K-1)/K of one from 1/(K-1).
    "MoCo": lambda: MoCo(gamma=1e-20),
    "MoDo": lambda: MoDo(gamma=1e-20),
    "SDMGrad(lr)": lambda: SDMGrad(lr=0.1),
}
RULES: dict[str, Callable[[], Rule]] = {
    kind.__name__: kind
    for kind in weightings()
    if issubclass(kind, Rule) and kind.__name__ != "TorchJDWeighting"
} | SPECIAL
MEANS = ("AlignedMTL", "DualProj", "ExcessMTL", "MoCo", "MoDo", "UPGrad")
DRAWN = ("GradVac", "PCGrad")
"""Whose order of the tasks is drawn for all K: the direction is the same where no order matters."""


def direction(rule: Rule, rows: Tensor, losses: Tensor) -> Tensor:
    if isinstance(rule, JacobianWeighting):
        return rule.combine(losses, rows.clone())
    if rule.needs_rows:
        rule.brought = rule.observe([[row] for row in rows], torch.ones_like(losses))
    return rule.weights(losses, rows @ rows.T) @ rows


@pytest.mark.parametrize("name", RULES)
def test_a_zero_gradient_is_that_of_no_task_or_counts_in_a_mean(name: str) -> None:
    for tasks in (2, 3, 5):
        for seed in range(4):
            make = agreeing_jacobian if name in DRAWN and tasks > 2 else random_jacobian
            others = make(tasks - 1, 12, seed=seed)
            for silent in range(tasks):
                kept = [task for task in range(tasks) if task != silent]
                rows, losses = others.new_zeros(tasks, 12), others.new_ones(tasks)
                rows[kept] = others
                losses[silent] = 0
                found = direction(RULES[name](), rows, losses)
                expected = direction(RULES[name](), others, losses[kept])
                share = (tasks - 1) / tasks if name in MEANS else 1.0
                torch.testing.assert_close(found, share * expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["SDMGrad", "SDMGrad(lr)"])
def test_the_weights_of_a_task_without_a_gradient_stay_where_they_were(name: str) -> None:
    """As those of an absent task do."""
    silent, absent = RULES[name](), RULES[name]()
    absent.tasks = ("a", "b", "c")
    ones = torch.ones(3).double()
    for step in range(6):
        rows = random_jacobian(3, 9, seed=step)
        set_present(absent, [0, 1, 2] if step % 2 else [0, 2])
        kept = rows if step % 2 else rows[[0, 2]]
        expected = direction(absent, kept, ones[: len(kept)])
        if not step % 2:
            rows[1] = 0
        torch.testing.assert_close(direction(silent, rows, ones), expected)


@pytest.mark.parametrize("name", RULES)
def test_no_gradient_at_all_gives_finite_weights(name: str) -> None:
    rule, rows = RULES[name](), torch.zeros(3, 9).double()
    for _ in range(3):
        assert not direction(rule, rows, torch.ones(3).double()).any()
