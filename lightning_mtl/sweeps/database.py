"""Optuna's database: opened by several processes at once, which find out whose runs were lost."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.trial import TrialState
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

OPENED = 40
"""How often a database is opened while others make it."""

PAUSE = 0.25
"""Seconds before it is opened again."""


class Database:
    """Studies of Optuna, and signs of life of the trials at work in them.

    Optuna calls signs of life experimental, and warns of them in every thread. Filters of warnings
    hold for all threads: who opens a database from several sets one for `ExperimentalWarning`.

    Args:
        url: such as `sqlite:///runs/sweep/study.db`.
        heartbeat: seconds between two signs of life of a trial.
        grace: seconds without one after which a trial counts as lost.

    Raises:
        ValueError: if there is no such database, or no package that could open it.
    """

    def __init__(self, url: str, heartbeat: int, grace: int) -> None:
        self._storage = _opened(url, heartbeat, grace)
        self._grace = grace
        self._at_work: set[int] = set()
        self._silent: dict[int, float] = {}
        if url.startswith("sqlite"):
            _lock_when_reading(self._storage.engine)

    def study(self, name: str) -> optuna.Study:
        """The study of that name, which is made if there is none."""
        return optuna.create_study(
            storage=self._storage,
            study_name=name,
            direction="maximize",
            # Trials are added with all their values; nothing is left to be drawn.
            sampler=optuna.samplers.RandomSampler(seed=0),
            load_if_exists=True,
        )

    @contextmanager
    def at_work(self, trial: optuna.Trial) -> Iterator[None]:
        """Note that this process works on a trial, so that it does not count it as lost."""
        self._at_work.add(trial._trial_id)
        try:
            yield
        finally:
            self._at_work.discard(trial._trial_id)

    def fail_lost(self, study: optuna.Study) -> None:
        """Let the trials of a study fail whose processes give no sign of life any more."""
        with self._storage.engine.connect() as connection:
            heard = set(connection.execute(text("SELECT trial_id FROM trial_heartbeats")).scalars())
        # If the machine was asleep, all of them were silent, those of this process too.
        for number in self._at_work & heard:
            self._storage.record_heartbeat(number)
        fail_stale_trials(study)
        # Optuna leaves out those that were lost before their first sign of life.
        now = time.monotonic()
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            since = self._silent.setdefault(trial._trial_id, now)
            if trial._trial_id not in heard and now - since > self._grace:
                with suppress(UpdateFinishedTrialError):
                    study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)

    def close(self) -> None:
        """Close all connections to the database. Called when the sweep is over."""
        self._storage.remove_session()
        self._storage.engine.dispose()


def _opened(url: str, heartbeat: int, grace: int, attempts: int = OPENED) -> RDBStorage:
    # Else writers that wait for each other would give up after five seconds.
    arguments = {"connect_args": {"timeout": 120}} if url.startswith("sqlite") else {}
    try:
        return RDBStorage(url, arguments, heartbeat_interval=heartbeat, grace_period=grace)
    except (SQLAlchemyError, ImportError) as error:
        # Two processes may make the tables of a new database at the same time.
        made = isinstance(error, IntegrityError) or "already exists" in str(error)
        if made and attempts > 1:
            time.sleep(PAUSE)
            return _opened(url, heartbeat, grace, attempts - 1)
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(
            f"`--study` should be the URL of a database, such as `sqlite:///study.db`. Found"
            f" `{url}`, which cannot be opened: {reason}."
        ) from error


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
