"""Every weighting against everything that it promises to be equal to.

The runs, and what is equal by definition, are in `tests.support.equivalence`;
`python -m tests.equivalence.table` prints what is reached.
"""

from collections.abc import Iterator

import pytest
import torch

from tests.support.equivalence import EQUIVALENCES, ONE_A_ROUTE, REFUSES, compiled_and_eager


def rules_of(column: str, dear: bool = False) -> pytest.MarkDecorator:
    """All rules for which the equivalence holds; of a dear one, one a route unless slow ones run.

    Args:
        column: the equivalence.
        dear: whether a cell takes seconds.
    """
    names = EQUIVALENCES[column].rules
    marks = [[pytest.mark.slow] if dear and name not in ONE_A_ROUTE else [] for name in names]
    cells = [pytest.param(name, marks=slow) for name, slow in zip(names, marks, strict=True)]
    return pytest.mark.parametrize("name", cells)


def check(column: str, name: str) -> None:
    """Whether a rule reaches what the column promises."""
    equivalence = EQUIVALENCES[column]
    assert equivalence.difference(name) <= equivalence.tolerance


DIFFERENT = [
    pytest.param(column, name, id=f"{column}-{name}")
    for column, equivalence in EQUIVALENCES.items()
    for name in equivalence.exceptions
    if name not in REFUSES
]


@pytest.mark.parametrize(("column", "name"), DIFFERENT)
def test_an_exception_is_one(column: str, name: str) -> None:
    """The runs differ, and train all the same."""
    equivalence = EQUIVALENCES[column]
    assert equivalence.tolerance < equivalence.difference(name) < float("inf")


@pytest.mark.peer("L5", "T12", "O18", "O19")
@rules_of("2 ranks = 1", dear=True)
def test_two_ranks_equal_one(name: str) -> None:
    check("2 ranks = 1", name)


@pytest.mark.peer("T12", "O18", "O19")
@rules_of("3 uneven ranks = 1", dear=True)
def test_ranks_with_uneven_batches_and_other_tasks_equal_one(name: str) -> None:
    check("3 uneven ranks = 1", name)


@rules_of("prior = in losses")
def test_prior_weights_equal_losses_that_are_multiplied_by_them(name: str) -> None:
    check("prior = in losses", name)


@rules_of("2 ranks, prior = 1, in losses", dear=True)
def test_prior_weights_on_two_ranks_equal_losses_of_one_that_are_multiplied(name: str) -> None:
    check("2 ranks, prior = 1, in losses", name)


@pytest.mark.peer("O20")
@rules_of("n micro-batches = 1")
def test_accumulated_batches_equal_one_large_batch(name: str) -> None:
    check("n micro-batches = 1", name)


@pytest.mark.peer("L13", "T9", "O5", "O17")
@rules_of("resumed = uninterrupted")
def test_resuming_in_the_middle_of_an_epoch_is_exact_to_the_bit(name: str) -> None:
    check("resumed = uninterrupted", name)


# The compiler looks at the features, which the heads receive, as at any input.
no_leaf = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


@pytest.fixture(scope="module")
def _empty_caches() -> Iterator[None]:
    """No compiled code from other tests, nor for them."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@no_leaf
@pytest.mark.usefixtures("_empty_caches")
@rules_of("compiled = eager", dear=True)
def test_compiled_parts_equal_eager_ones(name: str) -> None:
    check("compiled = eager", name)


@pytest.mark.slow
@no_leaf
@pytest.mark.usefixtures("_empty_caches")
@pytest.mark.parametrize("name", ["FAMO", "GradNorm", "MGDA", "MoCo", "AlternatingUpdates"])
def test_parts_that_are_compiled_by_inductor_equal_eager_ones(name: str) -> None:
    assert compiled_and_eager(name, backend="inductor") <= 1e-6


@rules_of("loss scale 2^16 = 1")
def test_a_loss_scale_changes_no_digit(name: str) -> None:
    check("loss scale 2^16 = 1", name)


@rules_of("absent task = removed")
def test_an_absent_task_equals_a_removed_one(name: str) -> None:
    check("absent task = removed", name)


@rules_of("late parameter = always")
def test_a_late_layer_trains_as_if_it_had_been_there(name: str) -> None:
    check("late parameter = always", name)


@rules_of("hook = built in")
def test_a_hook_on_a_gradient_runs_once(name: str) -> None:
    check("hook = built in", name)


@rules_of("interrupted, again = fresh")
def test_a_run_after_one_that_broke_off_equals_a_fresh_one(name: str) -> None:
    check("interrupted, again = fresh", name)


@rules_of("after lr_find = without")
def test_a_search_for_a_learning_rate_leaves_no_trace(name: str) -> None:
    check("after lr_find = without", name)
