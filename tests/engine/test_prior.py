"""Prior weights: what multiplies the losses before they are balanced."""

import re

import pytest
import torch

from lightning_mtl.engine.prior import (
    check_prior,
    check_prior_names,
    prior_weights,
    scaled_losses,
)


def test_tasks_that_are_not_named_have_a_prior_of_1() -> None:
    weights = prior_weights({"b": 2.5}, ("a", "b"), torch.empty((), dtype=torch.float64))
    torch.testing.assert_close(weights, torch.tensor([1.0, 2.5], dtype=torch.float64))


@pytest.mark.parametrize("given", [{}, {"a": 1.0}, {"a": 1, "b": 1.0}])
def test_nothing_is_multiplied_where_all_are_1(given: dict[str, float]) -> None:
    assert prior_weights(given, ("a", "b"), torch.empty(())) is None


def test_losses_are_scaled_by_name_and_left_alone_without_one() -> None:
    losses = {"a": torch.tensor(3.0), "b": torch.tensor(4.0)}
    scaled = scaled_losses(losses, {"b": 0.5, "c": 7.0})
    assert scaled["a"] is losses["a"]
    assert float(scaled["b"]) == 2.0


@pytest.mark.parametrize("number", [0.0, -1.0, float("nan"), float("inf")])
def test_a_number_that_is_not_positive_and_finite_is_refused(number: float) -> None:
    message = "`Rule(prior=)` should be positive and finite. Found {'a': 2.0, 'b': "
    with pytest.raises(ValueError, match=re.escape(message)):
        check_prior("Rule", {"a": 2.0, "b": number})


@pytest.mark.parametrize("given", [[2.0], "depth", {"a": "2"}, {"a": True}, {"a": None}])
def test_what_is_no_dict_of_numbers_is_refused(given: object) -> None:
    with pytest.raises(TypeError, match=r"`Rule\(prior=\)` should be a dict of one number"):
        check_prior("Rule", given)


def test_a_name_of_no_task_is_refused_with_those_that_there_are() -> None:
    check_prior_names("Rule", {"a": 2.0}, ("a", "b"))
    message = "should name tasks among ('a', 'b'). Found ['deph', 'x']."
    with pytest.raises(ValueError, match=re.escape(message)):
        check_prior_names("Rule", {"x": 2.0, "a": 1.0, "deph": 2.0}, ("a", "b"))
