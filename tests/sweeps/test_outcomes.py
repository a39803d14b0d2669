"""What runs have come to: scores by which trials are chosen, and what is handed to answers."""

import json
import math
from dataclasses import replace

import pytest

from lightning_mtl.sweeps.outcomes import (
    Outcome,
    best_choice,
    finished,
    folder_of,
    read_outcome,
    results,
    score,
    single_task_values,
    write_outcome,
)
from lightning_mtl.sweeps.plan import Choice, Run
from tests.support.swept_folder import write_sweep
from tests.sweeps.examples import ended, plan, saved

RATES = (0.5, 1.0, 2.0)


def failed(sweep, run):
    write_outcome(folder_of(sweep, run), Outcome({}, Choice(), 0.0, failure="It diverged."))


def with_single_tasks(sweep, made):
    """Single-task runs whose means over two seeds are 0.8 and 2."""
    for run, high, low in zip(
        made.judged(made.single), (0.7, 0, 0.9, 0), (0, 1, 0, 3), strict=True
    ):
        ended(sweep, run, high, low)


def trials(made, name):
    return made.trials(next(method for method in made.methods if method.name == name))


def test_an_outcome_is_read_as_it_was_written(tmp_path):
    outcome = Outcome({"val/a/b": math.nan}, Choice(0.5, 2), 3.0, 0.1, 1e6)
    write_outcome(tmp_path, outcome)
    # What is not a number is equal to nothing.
    assert repr(read_outcome(tmp_path)) == repr(outcome)
    assert read_outcome(tmp_path / "other") is None


def test_a_run_that_failed_has_ended_and_is_not_finished(tmp_path):
    (run, *_) = plan().runs()
    failed(tmp_path, run)
    assert read_outcome(folder_of(tmp_path, run)) is not None
    assert finished(tmp_path, run) is None


def test_a_single_task_is_scored_by_its_metric_with_its_sign(tmp_path):
    made = plan()
    metrics = {"val/high/accuracy": 0.8, "val/low/error": 2.0}
    high, low = (Run(method, 0) for method in made.single)
    assert score(made, high, metrics, tmp_path) == 0.8
    assert score(made, low, metrics, tmp_path) == -2.0


def test_a_method_is_scored_by_delta_mtl_over_the_means_of_single_tasks(tmp_path):
    made = plan(seeds=2)
    with_single_tasks(tmp_path, made)
    metrics = {"val/high/accuracy": 0.84, "val/low/error": 1.7}
    by_hand = 100 * ((0.84 - 0.8) / 0.8 + (2.0 - 1.7) / 2.0) / 2
    run = Run(made.compared[0], 0)
    assert score(made, run, metrics, tmp_path) == pytest.approx(by_hand)


def test_without_single_tasks_there_is_no_score(tmp_path):
    made = plan()
    ended(tmp_path, Run(made.single[0], 0), 0.8, 0)
    failed(tmp_path, Run(made.single[1], 0))
    metrics = {"val/high/accuracy": 0.84, "val/low/error": 1.7}
    with pytest.raises(ValueError, match=r"Found none of \['low'\] that succeeded"):
        score(made, Run(made.compared[0], 0), metrics, tmp_path)


def test_a_metric_that_is_missing_is_an_error(tmp_path):
    made = plan()
    with pytest.raises(ValueError, match=r"should log `val/high/accuracy`.*Found \['val/other'\]"):
        score(made, Run(made.single[0], 0), {"val/other": 1.0}, tmp_path)


def test_the_trial_with_the_best_delta_mtl_is_chosen(tmp_path):
    made = plan(("equal", "gradnorm"), seeds=2, rates=RATES)
    with_single_tasks(tmp_path, made)
    # By hand: 100 (0.1 / 0.8 - 1 / 2) / 2, 100 (-0.1 / 0.8 + 1 / 2) / 2, and less than that.
    for trial, high, low in zip(
        trials(made, "gradnorm"), (0.9, 0.7, 0.69), (3.0, 1.0, 1.0), strict=True
    ):
        ended(tmp_path, trial, high, low)
    assert best_choice(made, made.methods[-1], tmp_path) == Choice(1.0)


def test_of_trials_that_are_alike_the_first_is_chosen(tmp_path):
    made = plan(rates=RATES)
    for trial in trials(made, "single low"):
        ended(tmp_path, trial, 0.5, 1.0)
    assert best_choice(made, made.single[1], tmp_path) == Choice(0.5)


def test_trials_that_diverged_or_failed_lose(tmp_path):
    made = plan(rates=RATES)
    first, second, third = trials(made, "single low")
    failed(tmp_path, first)
    ended(tmp_path, second, 0.5, 1e6)
    ended(tmp_path, third, 0.5, math.nan)
    assert best_choice(made, made.single[1], tmp_path) == Choice(1.0)


def test_a_method_of_which_no_trial_succeeded_has_no_choice(tmp_path):
    made = plan(rates=RATES)
    for trial in trials(made, "single low"):
        failed(tmp_path, trial)
    with pytest.raises(ValueError, match=r"trial of `single low` should succeed.*`log\.txt`"):
        best_choice(made, made.single[1], tmp_path)


def test_without_trials_there_is_nothing_to_choose(tmp_path):
    made = plan(rates=(0.5,))
    assert best_choice(made, made.compared[0], tmp_path) == Choice(0.5)


def test_single_tasks_are_told_by_seed_and_those_that_failed_are_left_out(tmp_path):
    made = plan(seeds=2)
    high, low, *others = made.judged(made.single)
    ended(tmp_path, high, 0.7, 0)
    ended(tmp_path, low, 0, 1.0)
    failed(tmp_path, others[0])
    ended(tmp_path, others[1], 0, 3.0)
    assert single_task_values(made, tmp_path) == {"high": [0.7], "low": [1.0, 3.0]}


def test_the_results_of_a_sweep_are_those_of_its_judged_runs(tmp_path):
    made = saved(tmp_path, plan(("equal", "gradnorm"), seeds=2, rates=RATES, grid=True))
    with_single_tasks(tmp_path, made)
    for run in made.runs():
        if run.method.task is None or run.choice is not None:
            ended(tmp_path, run, 0.8, 2.0, rate=2.0)
    found = results(tmp_path)
    assert found.name == tmp_path.name
    assert [(run.method, run.seed) for run in found.runs] == [
        (name, seed) for name in ("scalarisation", "equal", "gradnorm") for seed in (0, 1)
    ]
    assert found.single_tasks == {"high": [0.7, 0.9], "low": [1.0, 3.0]}
    assert found.reference == "equal"
    assert found.missing == 0
    assert not found.failed
    assert found.runs[0].settings == {"learning rate": "2 x", "weights": "high 1.5, low 0.5"}
    assert found.runs[2].settings == {"learning rate": "2 x"}
    notes = " ".join(found.notes)
    for words in ("for 3 epochs", "seeds 0, 1.", "rates 0.5, 1, 2 times", "grid as well"):
        assert words in notes


def test_notes_say_nothing_of_what_was_not_done(tmp_path):
    made = saved(tmp_path, plan())
    ended(tmp_path, Run(made.compared[0], 0), 0.8, 2.0)
    notes = " ".join(results(tmp_path).notes)
    assert "learning rates" not in notes
    assert "grid" not in notes


def test_a_sweep_that_is_half_done_has_results_too(tmp_path):
    made = saved(tmp_path, plan(("equal", "gradnorm"), seeds=2))
    high, low, *_ = made.judged(made.single)
    ended(tmp_path, high, 0.7, 0)
    failed(tmp_path, low)
    ended(tmp_path, Run(made.compared[1], 1), 0.8, 2.0)
    found = results(tmp_path)
    assert [(run.method, run.seed) for run in found.runs] == [("gradnorm", 1)]
    # Of the eight runs one failed, two finished, and five did not end.
    assert found.missing == 5
    assert found.failed == ("single-low/seed_0: It diverged.",)
    assert found.single_tasks == {}
    assert found.reference is None


def test_a_sweep_without_a_finished_run_of_a_weighting_has_none(tmp_path):
    made = saved(tmp_path, plan())
    ended(tmp_path, Run(made.single[0], 0), 0.7, 0)
    with pytest.raises(ValueError, match="goes on where it stopped"):
        results(tmp_path)


def test_a_plan_with_fewer_seeds_does_not_count_the_others(tmp_path):
    made = saved(tmp_path, plan(seeds=2))
    for run in made.runs():
        ended(tmp_path, run, 0.8, 2.0)
    replace(made, seeds=(1,)).save(tmp_path)
    assert [run.seed for run in results(tmp_path).runs] == [1]


def test_a_learning_rate_at_the_edge_of_those_tried_is_told(tmp_path):
    write_sweep(tmp_path / "sweep")
    assert not any("rates beyond it" in note for note in results(tmp_path / "sweep").notes)
    file = tmp_path / "sweep" / "plan.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps(values | {"learning_rates": [0.5, 1.0]}))
    (note,) = [note for note in results(tmp_path / "sweep").notes if "rates beyond it" in note]
    assert note.startswith("The largest learning rate that was tried, 1 x, was the best of equal, ")
