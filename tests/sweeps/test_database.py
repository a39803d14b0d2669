"""One database is opened by many, and forgets no one who was lost."""

import multiprocessing
import re
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from lightning_mtl.sweeps.child import METHOD
from lightning_mtl.sweeps.database import Database
from tests.sweeps.examples import EXPERIMENTAL

pytestmark = pytest.mark.filterwarnings(EXPERIMENTAL)
PROCESSES = 3


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'study.db'}"


def open_together(address: str, barrier: Barrier) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    barrier.wait()
    Database(address, heartbeat=10, grace=60).study("phase")


def test_several_processes_make_a_database_at_the_same_time(tmp_path):
    context = multiprocessing.get_context(METHOD)
    barrier = context.Barrier(PROCESSES)
    processes = [
        context.Process(target=open_together, args=(url(tmp_path), barrier))
        for _ in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    assert optuna.get_all_study_names(url(tmp_path)) == ["phase"]


@pytest.mark.parametrize(
    "address",
    ["sqlite:////no/such/folder/study.db", "study.db", "sqlite+nothing:///study.db"],
    ids=["no folder", "no URL", "no driver"],
)
def test_a_database_that_cannot_be_opened_is_an_error_with_its_reason(address):
    with pytest.raises(ValueError, match=f"Found `{re.escape(address)}`, which cannot be opened: "):
        Database(address, heartbeat=10, grace=60)


def test_a_trial_that_was_lost_before_any_sign_of_life_fails_after_the_grace(tmp_path):
    database = Database(url(tmp_path), heartbeat=1, grace=1)
    study = database.study("phase")
    # Its process ends right after this line, so to speak.
    optuna.load_study(study_name="phase", storage=url(tmp_path)).ask()
    database.fail_lost(study)
    assert study.trials[0].state == TrialState.RUNNING
    time.sleep(1.1)
    database.fail_lost(study)
    assert study.trials[0].state == TrialState.FAIL
    database.close()


def test_a_trial_of_this_process_is_not_lost_after_its_machine_was_asleep(tmp_path):
    database = Database(url(tmp_path), heartbeat=100, grace=1)
    study = database.study("phase")

    def objective(trial: optuna.Trial) -> float:
        with database.at_work(trial):
            # Longer than the grace, in which a machine that sleeps gives no sign of life.
            time.sleep(2.5)
            database.fail_lost(study)
        return 1.0

    study.optimize(objective, n_trials=1)
    assert study.trials[0].state == TrialState.COMPLETE
    database.close()
