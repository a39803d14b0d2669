"""Losses and gradients that cannot be trained by stop a run, with names."""

from functools import partial

import pytest
import torch

from lightning_mtl.engine.errors import (
    NegativeLossError,
    NonFiniteGradientError,
    NonFiniteLossError,
)
from lightning_mtl.engine.loss_guard import check_gradients, check_losses


def test_finite_losses_pass():
    check_losses(["a", "b"], 0, None, torch.tensor([3e38, -3e38]))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_bad_loss_is_named_with_its_task_and_step(bad):
    with pytest.raises(NonFiniteLossError, match="step 17") as error:
        check_losses(["depth", "edges"], 17, None, torch.tensor([1.0, bad]))
    assert "`edges`" in str(error.value)
    assert "`depth`" not in str(error.value)


def test_a_negative_loss_is_refused_where_losses_have_to_be_positive():
    check = partial(check_losses, ["a", "b", "c"], 4, losses=torch.tensor([1.0, -0.5, 0.0]))
    check(positive_for=None)
    with pytest.raises(NegativeLossError, match=r"`Rule` should have .*`b` = -0.5 in step 4"):
        check(positive_for="Rule")


def test_a_loss_of_zero_is_positive_enough():
    check_losses(["a", "b"], 0, "Rule", torch.tensor([1.0, 0.0]))


def test_gradients_are_named_by_their_tasks():
    check_gradients(["a", "depth"], 5, torch.tensor([0.0, 3e38]))
    with pytest.raises(NonFiniteGradientError, match=r"step 5 .*`depth`, `edges`"):
        check_gradients(["a", "depth", "edges"], 5, torch.tensor([1.0, torch.nan, torch.inf]))
