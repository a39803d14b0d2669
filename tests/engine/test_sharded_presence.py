"""Where parameters are sharded, every rank needs every task, and is told so."""

import pytest

from tests.support.ranks import outputs_of


@pytest.mark.parametrize("names", [[], ["UncertaintyWeighting"]], ids=["none", "losses"])
def test_a_rank_that_lacks_a_task_is_refused_with_the_ways_out(names: list[str]) -> None:
    codes, printed = outputs_of("ddp_lacking", *names, timeout=300)
    assert 1 in codes
    assert "should return every task on every rank" in printed
    assert "Found no ['three']" in printed
