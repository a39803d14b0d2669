"""A plan says all that a sweep will do, and can be taken up again."""

from dataclasses import replace

import pytest

from lightning_mtl.answers.records import Measure
from lightning_mtl.sweeps.methods import Method
from lightning_mtl.sweeps.plan import TRIAL_SEED, Choice, Plan, Run, merged
from tests.sweeps.examples import plan

NAMES = ("equal", "gradnorm", "maxgnr")
RATES = (0.5, 1.0, 2.0)


def test_a_saved_plan_is_loaded_as_it_was(tmp_path):
    made = plan(NAMES, seeds=3, rates=RATES, grid=True)
    made.save(tmp_path)
    assert Plan.load(tmp_path) == made


def test_a_folder_without_a_plan_is_no_sweep(tmp_path):
    with pytest.raises(FileNotFoundError, match="should be the folder of a sweep"):
        Plan.load(tmp_path)


def test_phases_come_after_those_whose_results_they_need():
    phases = plan(NAMES, seeds=2, rates=RATES).phases
    assert [(phase.name, phase.level, len(phase.runs)) for phase in phases] == [
        ("single high", 0, 3),
        ("single low", 0, 3),
        ("seeds of single tasks", 1, 4),
        ("equal", 2, 3),
        ("gradnorm", 2, 3),
        ("maxgnr", 2, 3),
        ("seeds", 3, 6),
    ]


def test_without_a_choice_there_are_no_trials():
    phases = plan(NAMES, seeds=2).phases
    assert [phase.name for phase in phases] == ["seeds of single tasks", "seeds"]


def test_every_method_has_the_same_number_of_trials_and_the_grid_that_at_each_point():
    made = plan(NAMES, rates=RATES, grid=True)
    number = {method.name: len(made.trials(method)) for method in made.methods}
    assert number.pop("scalarisation") == 3 * 2
    assert set(number.values()) == {3}


def test_trials_have_a_seed_by_which_no_method_is_judged():
    made = plan(NAMES, seeds=5, rates=RATES)
    trials = [run for run in made.runs() if run.choice is not None]
    assert {run.seed for run in trials} == {TRIAL_SEED}
    assert TRIAL_SEED not in made.seeds


def test_one_seed_of_all_methods_comes_before_the_next_seed():
    runs = plan(NAMES, seeds=2).phases[-1].runs
    assert [run.seed for run in runs] == [0, 0, 0, 1, 1, 1]


def test_all_runs_have_folders_of_their_own():
    made = plan(NAMES, seeds=3, rates=RATES, grid=True)
    keys = [run.key for run in made.runs()]
    assert len(set(keys)) == len(keys) == 2 * 6 + 6 + 3 * 6 + 3


def test_a_folder_says_what_the_run_is():
    method = Method("a b/c", "Some", grid=({"high": 1.0},))
    assert Run(method, 3).key == "a-b-c/seed_3"
    assert Run(method, TRIAL_SEED, Choice(0.5, 0)).key == "a-b-c/trial_rate_0.5_weights_0"


def test_a_sweep_goes_on_with_more_seeds_and_methods():
    old, new = plan(("equal", "gradnorm"), seeds=3), plan(("equal", "maxgnr"), seeds=2)
    both = merged(old, new)
    names = [method.name for method in both.methods]
    assert names == ["single high", "single low", "equal", "gradnorm", "maxgnr"]
    assert both.seeds == (0, 1, 2)
    assert merged(both, both) == both


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rates", (1.0, 3.0)),
        ("measures", (Measure("high", "val/high/F1", True),)),
        ("rate_key", "model.init_args.rate"),
        ("reference", "gradnorm"),
    ],
)
def test_a_sweep_goes_on_only_if_its_runs_stay_comparable(name, value):
    made = plan(rates=RATES)
    with pytest.raises(ValueError, match=f"the same `{name}`.*Give another `--folder`"):
        merged(made, replace(made, **{name: value}))


def test_a_method_may_not_become_another_one():
    made = plan()
    methods = (*made.methods[:-1], Method("equal", "Another"))
    with pytest.raises(ValueError, match="Found another `equal`"):
        merged(made, replace(made, methods=methods))
