"""The runs that wait, in a database of Optuna that any number of processes share."""

import threading
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine, event

from lightning_mtl.sweeps.plan import Phase, Plan, Run

HEARTBEAT = 10
"""Seconds between two signs of life of a run."""

GRACE = 60
"""Seconds without one after which a run counts as lost."""

ATTEMPTS = 5
"""How often a run may be lost before it counts as failed: it may be what ends its process."""

KEY, FAILURE, EXECUTED = "run", "failure", "executed"
"""What trials of Optuna are marked with."""


class RunFailed(Exception):
    """A run ended with an error; it is not tried again unasked."""


class Queue:
    """Hands every run of a plan to one worker, whichever processes and machines work on it.

    Each phase of the plan is a study of Optuna, with a trial for each attempt at a run. A run whose
    process was killed gives no sign of life any more, and is handed out again.

    Args:
        plan: of the sweep.
        url: of the database, such as `sqlite:///runs/sweep/study.db`.
        heartbeat: seconds between two signs of life of a run.
        grace: seconds without one after which a run counts as lost.
    """

    def __init__(
        self, plan: Plan, url: str, heartbeat: int = HEARTBEAT, grace: int = GRACE
    ) -> None:
        self.plan = plan
        self._lock = threading.Lock()
        in_file = url.startswith("sqlite")
        arguments: dict[str, Any] = {"connect_args": {"timeout": 120}} if in_file else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            self._storage = RDBStorage(
                url, arguments, heartbeat_interval=heartbeat, grace_period=grace
            )
        if in_file:
            _lock_when_reading(self._storage.engine)
        self._studies = {phase.name: self._study(phase) for phase in plan.phases}

    def take(
        self,
        phase: Phase,
        known: Callable[[Run], float | None],
        execute: Callable[[Run], float],
    ) -> bool:
        """Execute one run of a phase, if one waits. Called by each worker, again and again.

        Args:
            phase: of the plan.
            known: the score of a run that had ended before its process could say so.
            execute: trains the run and returns its score; raises `RunFailed` if it fails.

        Returns:
            Whether there was one.
        """
        study = self._studies[phase.name]
        with self._lock:
            self._fill(study, phase)
            waits = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if not waits:
            return False
        runs = {run.key: run for run in phase.runs}

        def objective(trial: optuna.Trial) -> float:
            run = runs.get(trial.user_attrs.get(KEY, ""))
            # Another process may have taken the last one that waited, or added the same one.
            if run is None or self._is_taken(study, trial.number, run.key):
                raise optuna.TrialPruned
            for name, values in self._space(run).items():
                trial.suggest_categorical(name, values)
            if (score := known(run)) is not None:
                return score
            trial.set_user_attr(EXECUTED, True)
            try:
                return execute(run)
            except RunFailed as error:
                trial.set_user_attr(FAILURE, str(error))
                raise

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.optimize(objective, n_trials=1, catch=(RunFailed,))
        return True

    def open_runs(self, phase: Phase) -> list[str]:
        """The keys of the runs of a phase that have not ended, those at work included."""
        trials = self._trials(self._studies[phase.name])
        return [run.key for run in phase.runs if not _has_ended(trials.get(run.key, []))]

    def retry_failed(self) -> None:
        """Let runs that failed be tried again, called before any worker starts."""
        for study in self._studies.values():
            for trial in study.get_trials(deepcopy=False, states=(TrialState.FAIL,)):
                if FAILURE in trial.user_attrs:
                    # Attributes of a trial that has ended are fixed; the study's are not.
                    study.set_user_attr(f"retried {trial.number}", True)

    def executions(self) -> int:
        """How many times a run was started, by all processes together."""
        return sum(
            EXECUTED in trial.user_attrs
            for study in self._studies.values()
            for trial in study.get_trials(deepcopy=False)
        )

    def close(self) -> None:
        """Give the database back. Called when the sweep is over."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def _study(self, phase: Phase) -> optuna.Study:
        return optuna.create_study(
            storage=self._storage,
            study_name=phase.name,
            direction="maximize",
            # Runs are added with all their values; nothing is left to be drawn.
            sampler=optuna.samplers.RandomSampler(seed=0),
            load_if_exists=True,
        )

    def _fill(self, study: optuna.Study, phase: Phase) -> None:
        """Add the runs that no trial stands for: at the start, and again where one was lost."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            fail_stale_trials(study)
        trials = self._trials(study)
        for run in phase.runs:
            attempts = trials.get(run.key, [])
            if not _has_ended(attempts) and not any(_is_open(each) for each in attempts):
                space = self._space(run)
                values = {name: self._values(run)[name] for name in space}
                study.enqueue_trial(values, user_attrs={KEY: run.key})

    def _trials(self, study: optuna.Study) -> dict[str, list[FrozenTrial]]:
        """The attempts at each run, but those that another attempt made superfluous."""
        found: dict[str, list[FrozenTrial]] = {}
        for trial in study.get_trials(deepcopy=False):
            retried = f"retried {trial.number}" in study.user_attrs
            if trial.state != TrialState.PRUNED and KEY in trial.user_attrs and not retried:
                found.setdefault(trial.user_attrs[KEY], []).append(trial)
        return found

    def _is_taken(self, study: optuna.Study, number: int, key: str) -> bool:
        """Whether an earlier trial stands for the same run."""
        attempts = self._trials(study).get(key, [])
        return any(
            each.number < number and (_is_open(each) or each.state == TrialState.COMPLETE)
            for each in attempts
        )

    def _space(self, run: Run) -> Mapping[str, list[Any]]:
        """What Optuna is told of the values that a run could have."""
        if run.choice is None:
            methods = self.plan.single if run.method.task is not None else self.plan.compared
            return {
                "method": [method.name for method in methods],
                "seed": list(self.plan.seeds),
            }
        space: dict[str, list[Any]] = {"learning_rate": list(self.plan.learning_rates)}
        return space | ({"weights": list(range(len(run.method.grid)))} if run.method.grid else {})

    def _values(self, run: Run) -> dict[str, Any]:
        if run.choice is None:
            return {"method": run.method.name, "seed": run.seed}
        return {"learning_rate": run.choice.learning_rate, "weights": run.choice.weights}


def _is_open(trial: FrozenTrial) -> bool:
    return trial.state in (TrialState.WAITING, TrialState.RUNNING)


def _has_ended(attempts: list[FrozenTrial]) -> bool:
    """Whether a run succeeded, failed, or was lost too often."""
    lost = 0
    for trial in attempts:
        if trial.state == TrialState.COMPLETE or FAILURE in trial.user_attrs:
            return True
        lost += trial.state == TrialState.FAIL
    return lost >= ATTEMPTS


def _lock_when_reading(engine: Engine) -> None:
    """Let transactions of SQLite lock the file when they begin.

    By default they lock it at their first write. Two processes that take the next run would both
    read that it waits, and both take it.
    """

    @event.listens_for(engine, "connect")
    def leave_transactions_to_sqlalchemy(connection: Any, record: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
