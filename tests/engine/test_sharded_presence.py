"""Where parameters are sharded, every rank needs every task, and is told so."""

import subprocess
import sys

import pytest

from tests.support.ranks import ROOT


@pytest.mark.parametrize("names", [[], ["UncertaintyWeighting"]], ids=["none", "losses"])
def test_a_rank_that_lacks_a_task_is_refused_with_the_ways_out(names: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.ddp_lacking", *names],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode != 0
    assert "should return every task on every rank" in done.stderr
    assert "Found no ['three']" in done.stderr
