"""Workers side by side execute a plan, and end together."""

import io
import signal
import threading
from pathlib import Path

import optuna
import pytest
import yaml
from rich.console import Console

from lightning_mtl.sweeps.outcomes import best_choice, read_outcome, results
from lightning_mtl.sweeps.plan import Plan, Run
from lightning_mtl.sweeps.progress import Progress
from lightning_mtl.sweeps.queue import Queue
from lightning_mtl.sweeps.sweep import Slot, Sweep
from tests.sweeps import fits
from tests.sweeps.examples import EXPERIMENTAL, comes_true, config, plan, saved

pytestmark = pytest.mark.filterwarnings(EXPERIMENTAL)
RATES = (1.0, 2.0)


@pytest.fixture(autouse=True)
def _quiet():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


def prepared(folder: Path, made: Plan, fit=fits.writes, jobs: int = 2, **arguments) -> Sweep:
    saved(folder, made)
    queue = Queue(made, f"sqlite:///{folder / 'study.db'}")
    console = Console(file=io.StringIO(), width=200)
    progress = Progress(console, len(list(made.runs())), queue.ended(), jobs)
    configs = {"": config(**arguments)}
    return Sweep(made, configs, folder, queue, [Slot(1)] * jobs, fit, progress)


def lines(sweep: Sweep) -> list[str]:
    return sweep.progress.console.file.getvalue().splitlines()


def outcomes(folder: Path) -> list[Path]:
    return sorted(folder.rglob("outcome.json"))


def test_all_runs_of_a_plan_are_executed_once(tmp_path):
    made = plan(("equal", "gradnorm"), rates=RATES, grid=True)
    sweep = prepared(tmp_path, made)
    sweep.run()
    total = len(list(made.runs()))
    assert len(outcomes(tmp_path)) == sweep.queue.executions() == total
    assert sweep.progress.done == total
    assert len(lines(sweep)) == total
    assert results(tmp_path).missing == 0
    # The fake run is best with twice the learning rate of the config, which all methods find.
    for method in made.methods:
        if method.task != "low":
            assert best_choice(made, method, tmp_path).learning_rate == 2.0
    judged = tmp_path / "runs" / "gradnorm" / "seed_0" / "run.yaml"
    assert yaml.safe_load(judged.read_text())["model"]["init_args"]["lr"] == 0.2
    again = prepared(tmp_path, made)
    again.run()
    assert again.queue.executions() == total
    assert not lines(again)


def test_a_run_that_ended_before_its_process_could_say_so_is_not_repeated(tmp_path):
    made = plan()
    prepared(tmp_path, made).run()
    (tmp_path / "study.db").unlink()
    again = prepared(tmp_path, made, fit=fits.breaks)
    again.run()
    assert again.queue.executions() == 0
    assert again.progress.done == 3


def test_a_run_that_fails_lets_the_others_go_on(tmp_path):
    made = plan(seeds=1)
    sweep = prepared(tmp_path, made, fit=fits.fails)
    sweep.run()
    assert sweep.progress.done == 3
    high, low = (
        read_outcome(tmp_path / "runs" / f"single-{task}" / "seed_0") for task in ("high", "low")
    )
    assert high is not None
    assert high.failure is None
    assert low is not None
    assert "this cannot be trained" in low.failure
    # Without all single tasks no method has a score.
    (line,) = [line for line in lines(sweep) if "equal/seed_0" in line]
    assert "Found none of ['low'] that succeeded" in line


@pytest.fixture
def interruptible():
    """Programs that a shell runs in the background ignore this signal, and hand that on."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_sweep_ends_its_runs_and_starts_them_again(tmp_path):
    made = plan(seeds=2)
    sweep = prepared(tmp_path, made, fit=fits.sleeps)

    def interrupt() -> None:
        comes_true(lambda: len(list(tmp_path.rglob("pids"))) == 2)
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        sweep.run()
    assert not outcomes(tmp_path)
    assert sweep.queue.executions() == 2
    again = prepared(tmp_path, made)
    again.run()
    assert len(outcomes(tmp_path)) == 6
    assert again.queue.executions() == 6 + 2


def test_two_sweeps_on_one_folder_share_the_runs(tmp_path):
    made = plan(("equal", "gradnorm"), seeds=2, rates=(1.0, 2.0))
    both = [prepared(tmp_path, made, jobs=1) for _ in range(2)]
    workers = [threading.Thread(target=sweep.run) for sweep in both]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    total = len(list(made.runs()))
    assert both[0].queue.executions() == total
    assert [sweep.progress.done for sweep in both] == [total, total]
    executed = [len(lines(sweep)) for sweep in both]
    assert sum(executed) == total
    assert min(executed) > 0


def test_an_error_of_a_worker_reaches_whoever_started_the_sweep(tmp_path, monkeypatch):
    sweep = prepared(tmp_path, plan())

    def full(run: Run) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(sweep.progress, "begins", full)
    with pytest.raises(OSError, match="no space left"):
        sweep.run()


def test_a_metric_that_is_not_a_number_is_worse_than_any_other(tmp_path):
    made = plan(rates=(1.0, 2.0))
    sweep = prepared(tmp_path, made, lr=float("nan"))
    sweep.run()
    assert sweep.progress.done == len(list(made.runs()))
    assert "metric -1e+09" in "".join(lines(sweep))


def test_a_worker_has_a_gpu_of_its_own_if_there_are_several():
    assert Slot(1).environment == {}
    assert Slot(1, 3).environment == {"CUDA_VISIBLE_DEVICES": "3"}
