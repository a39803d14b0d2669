"""The folder of a sweep in place of runs."""

import pytest

from lightning_mtl.compare import group_runs
from lightning_mtl.sweeps.comparable import baselines_of, expanded, is_sweep
from tests.support.swept_folder import write_sweep


@pytest.fixture
def sweep(tmp_path):
    return write_sweep(tmp_path / "sweep")


def test_a_sweep_stands_for_its_judged_runs_by_method(sweep):
    groups = group_runs(expanded([str(sweep)]))
    assert {name: len(runs) for name, runs in groups.items()} == {"equal": 2, "other": 2}
    assert groups["equal"][1]["val/depth/Error"] == pytest.approx(0.91)


def test_two_sweeps_are_told_apart_by_the_names_in_front_of_them(sweep, tmp_path):
    later = write_sweep(tmp_path / "later")
    groups = group_runs(expanded([f"one={sweep}", f"two={later}"]))
    assert list(groups) == ["one equal", "one other", "two equal", "two other"]


def test_other_runs_stay_as_they_were_given(sweep, tmp_path):
    plain = sweep / "runs" / "other" / "seed_0"
    assert not is_sweep(plain)
    assert expanded([f"mine={plain}", str(plain)]) == [f"mine={plain}", str(plain)]


def test_a_sweep_without_a_finished_run_of_a_weighting_is_an_error(tmp_path):
    sweep = write_sweep(tmp_path / "begun", lacking=4)
    with pytest.raises(ValueError, match=r"should have finished runs of a weighting. Found none"):
        expanded([str(sweep)])


def test_its_single_tasks_are_the_baselines(sweep):
    found = baselines_of([str(sweep), "mine=elsewhere"])
    assert found is not None
    assert found.means == pytest.approx({"val/depth/Error": 1.005, "val/labels/Score": 0.5})
    assert (found.higher, found.lower) == (["val/labels/Score"], ["val/depth/Error"])


def test_several_sweeps_or_none_or_unfinished_single_tasks_give_no_baselines(sweep, tmp_path):
    begun = write_sweep(tmp_path / "begun", lacking=7)
    assert baselines_of([str(sweep), str(sweep)]) is None
    assert baselines_of([str(sweep / "runs")]) is None
    assert baselines_of([str(begun)]) is None
