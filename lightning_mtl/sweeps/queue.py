"""The runs that wait, in a database of Optuna that any number of processes share."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from lightning_mtl.sweeps.database import Database
from lightning_mtl.sweeps.plan import Phase, Plan, Run

HEARTBEAT = 10
"""Seconds between two signs of life of a run."""

GRACE = 60
"""Seconds without one after which a run counts as lost."""

ATTEMPTS = 5
"""How often a run may be lost before it counts as failed: it may be what ends its process."""

KEY, EXECUTED, FAILURE, INTERRUPTED = "run", "executed", "failure", "interrupted"
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

    Raises:
        ValueError: if the database cannot be opened.
    """

    def __init__(
        self, plan: Plan, url: str, heartbeat: int = HEARTBEAT, grace: int = GRACE
    ) -> None:
        self.plan = plan
        self._lock = threading.Lock()
        self._database = Database(url, heartbeat, grace)
        self._studies = {phase.name: self._database.study(phase.name) for phase in plan.phases}

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
            execute: trains the run and returns its score; raises `RunFailed` if it fails. After any
                other exception the run waits again.

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
                with self._database.at_work(trial):
                    return execute(run)
            except RunFailed as error:
                trial.set_user_attr(FAILURE, str(error))
                raise
            except BaseException:
                trial.set_user_attr(INTERRUPTED, True)
                raise

        study.optimize(objective, n_trials=1, catch=(RunFailed,))
        return True

    def open_runs(self, phase: Phase) -> list[str]:
        """The keys of the runs of a phase that have not ended, those at work included."""
        trials = self._trials(self._studies[phase.name])
        return [run.key for run in phase.runs if not _has_ended(trials.get(run.key, []))]

    def ended(self) -> int:
        """How many runs of the plan have ended, those that failed included."""
        return sum(len(phase.runs) - len(self.open_runs(phase)) for phase in self.plan.phases)

    def retry_failed(self) -> None:
        """Let runs that failed be tried again, called before any worker starts."""
        for study in self._studies.values():
            for trial in study.get_trials(deepcopy=False, states=(TrialState.FAIL,)):
                # Attributes of a trial that has ended are fixed; the study's are not.
                study.set_user_attr(_retried(trial), True)

    def executions(self) -> int:
        """How many times a run was started, by all processes together."""
        return sum(
            EXECUTED in trial.user_attrs
            for study in self._studies.values()
            for trial in study.get_trials(deepcopy=False)
        )

    def close(self) -> None:
        """Give the database back. Called when the sweep is over."""
        self._database.close()

    def _fill(self, study: optuna.Study, phase: Phase) -> None:
        """Add the runs that no trial stands for: at the start, and again where one was lost."""
        self._database.fail_lost(study)
        trials = self._trials(study)
        for run in phase.runs:
            attempts = trials.get(run.key, [])
            if not _has_ended(attempts) and not any(_is_open(each) for each in attempts):
                study.enqueue_trial(_values(run), user_attrs={KEY: run.key})

    def _trials(self, study: optuna.Study) -> dict[str, list[FrozenTrial]]:
        """The attempts at each run, but those that another attempt made superfluous."""
        found: dict[str, list[FrozenTrial]] = {}
        retried = study.user_attrs
        for trial in study.get_trials(deepcopy=False):
            superfluous = trial.state == TrialState.PRUNED or _retried(trial) in retried
            if KEY in trial.user_attrs and not superfluous:
                found.setdefault(trial.user_attrs[KEY], []).append(trial)
        return found

    def _is_taken(self, study: optuna.Study, number: int, key: str) -> bool:
        """Whether an earlier trial stands for the same run."""
        attempts = self._trials(study).get(key, [])
        earlier = [each for each in attempts if each.number < number]
        return _has_ended(earlier) or any(_is_open(each) for each in earlier)

    def _space(self, run: Run) -> Mapping[str, list[Any]]:
        """What a run could have for each of its values, in all sweeps of its database."""
        space: dict[str, list[Any]] = {
            "learning_rate": list(self.plan.learning_rates),
            "weights": list(range(len(run.method.grid))),
        }
        return {name: space[name] for name in _values(run)}


def _values(run: Run) -> dict[str, Any]:
    """What a trial tries. Seeds and methods are none: a sweep that goes on may have more."""
    if run.choice is None:
        return {}
    rate = {"learning_rate": run.choice.learning_rate}
    return rate | ({"weights": run.choice.weights} if run.method.grid else {})


def _retried(trial: FrozenTrial) -> str:
    """The attribute of a study that says that a trial does not count any more."""
    return f"retried {trial.number}"


def _is_open(trial: FrozenTrial) -> bool:
    return trial.state in (TrialState.WAITING, TrialState.RUNNING)


def _has_ended(attempts: list[FrozenTrial]) -> bool:
    """Whether a run succeeded, failed, or was lost too often."""
    if any(each.state == TrialState.COMPLETE or FAILURE in each.user_attrs for each in attempts):
        return True
    failed = [each for each in attempts if each.state == TrialState.FAIL]
    return sum(INTERRUPTED not in each.user_attrs for each in failed) >= ATTEMPTS
