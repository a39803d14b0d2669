"""Every run is handed out once, whoever asks, and none is forgotten."""

import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from lightning_mtl.sweeps.child import METHOD
from lightning_mtl.sweeps.plan import Phase, Plan, Run
from lightning_mtl.sweeps.queue import ATTEMPTS, FAILURE, KEY, Queue, RunFailed
from tests.sweeps.examples import EXPERIMENTAL, comes_true, many_seeds, plan

pytestmark = pytest.mark.filterwarnings(EXPERIMENTAL)
RUNS = 40


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'study.db'}"


def unknown(run: Run) -> float | None:
    return None


def last(made: Plan) -> Phase:
    return made.phases[-1]


def executed(queue: Queue, phase: Phase, score: float = 1.0) -> list[str]:
    """The runs that a worker is handed until there are no more."""
    keys: list[str] = []

    def execute(run: Run) -> float:
        keys.append(run.key)
        return score

    while queue.take(phase, unknown, execute):
        pass
    return keys


def fail(run: Run) -> float:
    raise RunFailed("the loss is NaN")


def break_off(run: Run) -> float:
    raise KeyboardInterrupt


def plain(folder: Path, phase: Phase) -> optuna.Study:
    """The study of a phase, as others see it who give no sign of life."""
    return optuna.load_study(study_name=phase.name, storage=url(folder))


def test_every_run_is_handed_out_once_in_the_order_of_the_plan(tmp_path):
    made = plan(("equal", "gradnorm"), seeds=2, rates=(0.5, 1.0), grid=True)
    queue = Queue(made, url(tmp_path))
    keys = [key for phase in made.phases for key in executed(queue, phase)]
    assert keys == [run.key for run in made.runs()]
    assert queue.executions() == queue.ended() == len(keys)
    assert not any(executed(queue, phase) for phase in made.phases)
    queue.close()


def work(address: str, runs: int, file: Path) -> None:
    """What a process of its own does: it notes the runs that it was handed."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    made = many_seeds(runs)
    queue = Queue(made, address)

    def execute(run: Run) -> float:
        with file.open("a") as lines:
            lines.write(f"{os.getpid()} {run.key}\n")
        time.sleep(0.02)
        return 1.0

    while queue.open_runs(last(made)):
        queue.take(last(made), unknown, execute)


def test_two_processes_share_the_runs_and_execute_none_twice(tmp_path):
    context = multiprocessing.get_context(METHOD)
    file = tmp_path / "lines"
    processes = [context.Process(target=work, args=(url(tmp_path), RUNS, file)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    lines = [line.split() for line in file.read_text().splitlines()]
    assert Counter(key for _, key in lines) == Counter(
        run.key for run in last(many_seeds(RUNS)).runs
    )
    assert len({pid for pid, _ in lines}) == 2
    assert Queue(many_seeds(RUNS), url(tmp_path)).executions() == RUNS


def be_killed(address: str) -> None:
    """Take a run, and be killed at work on it."""

    def execute(run: Run) -> float:
        # The first sign of life is given by another thread.
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)
        return 1.0

    queue = Queue(plan(), address, heartbeat=1, grace=2)
    queue.take(last(plan()), unknown, execute)


def test_a_run_whose_process_was_killed_is_handed_out_again(tmp_path):
    process = multiprocessing.get_context(METHOD).Process(target=be_killed, args=(url(tmp_path),))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    queue, phase = Queue(plan(), url(tmp_path), heartbeat=1, grace=2), last(plan())
    assert queue.open_runs(phase) == ["equal/seed_0"]
    found: list[str] = []
    assert comes_true(lambda: bool(found.extend(executed(queue, phase)) or found), 10)
    assert found == ["equal/seed_0"]
    assert queue.executions() == 2
    assert not queue.open_runs(phase)
    queue.close()


def test_a_run_that_was_lost_too_often_has_failed_until_it_is_retried(tmp_path):
    queue, phase = Queue(plan(), url(tmp_path)), last(plan())
    for _ in range(ATTEMPTS):
        assert queue.open_runs(phase)
        lost = create_trial(state=TrialState.FAIL, user_attrs={KEY: "equal/seed_0"})
        plain(tmp_path, phase).add_trial(lost)
    assert not queue.open_runs(phase)
    assert not executed(queue, phase)
    queue.retry_failed()
    assert executed(queue, phase) == ["equal/seed_0"]
    queue.close()


def test_a_run_that_failed_is_tried_again_only_if_asked(tmp_path):
    queue, phase = Queue(plan(), url(tmp_path)), last(plan())
    assert queue.take(phase, unknown, fail)
    assert plain(tmp_path, phase).trials[0].user_attrs[FAILURE] == "the loss is NaN"
    assert not queue.open_runs(phase)
    assert not executed(queue, phase)
    queue.retry_failed()
    assert queue.open_runs(phase) == ["equal/seed_0"]
    assert executed(queue, phase) == ["equal/seed_0"]
    queue.retry_failed()
    assert not executed(queue, phase)
    queue.close()


def test_a_run_may_be_interrupted_any_number_of_times(tmp_path):
    queue, phase = Queue(plan(), url(tmp_path)), last(plan())
    for _ in range(ATTEMPTS + 1):
        with pytest.raises(KeyboardInterrupt):
            queue.take(phase, unknown, break_off)
    assert executed(queue, phase) == ["equal/seed_0"]
    queue.close()


def test_the_later_of_two_trials_of_one_run_is_dropped(tmp_path):
    queue, phase = Queue(plan(), url(tmp_path)), last(plan())
    for _ in range(2):
        plain(tmp_path, phase).enqueue_trial({}, user_attrs={KEY: "equal/seed_0"})
    assert executed(queue, phase) == ["equal/seed_0"]
    states = [trial.state for trial in plain(tmp_path, phase).trials]
    assert states == [TrialState.COMPLETE, TrialState.PRUNED]
    queue.close()


def test_the_later_of_two_trials_is_dropped_too_if_the_first_one_failed(tmp_path):
    queue, phase = Queue(plan(), url(tmp_path)), last(plan())
    for _ in range(2):
        plain(tmp_path, phase).enqueue_trial({}, user_attrs={KEY: "equal/seed_0"})
    queue.take(phase, unknown, fail)
    assert not executed(queue, phase)
    queue.close()


def test_a_run_that_had_ended_before_its_process_could_say_so_is_not_executed(tmp_path):
    queue, phase = Queue(plan(), url(tmp_path)), last(plan())
    assert queue.take(phase, lambda run: 3.0, fail)
    assert plain(tmp_path, phase).best_value == 3.0
    assert queue.executions() == 0
    assert queue.ended() == 1
    queue.close()


def test_a_sweep_that_goes_on_with_more_seeds_and_methods_executes_only_these(tmp_path):
    before = Queue(plan(seeds=1), url(tmp_path))
    assert executed(before, last(before.plan)) == ["equal/seed_0"]
    before.close()
    after = Queue(plan(("equal", "gradnorm"), seeds=2), url(tmp_path))
    assert executed(after, last(after.plan)) == [
        "gradnorm/seed_0",
        "equal/seed_1",
        "gradnorm/seed_1",
    ]
    after.close()


def test_the_study_shows_what_each_trial_tried(tmp_path):
    made = plan(rates=(0.5, 1.0), grid=True)
    queue = Queue(made, url(tmp_path))
    phase = next(phase for phase in made.phases if phase.name == "scalarisation")
    executed(queue, phase)
    tried = [trial.params for trial in plain(tmp_path, phase).trials]
    assert tried == [
        {"learning_rate": run.choice.learning_rate, "weights": run.choice.weights}
        for run in phase.runs
        if run.choice is not None
    ]
    queue.close()
