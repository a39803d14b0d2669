"""Executing a plan: workers side by side, until every run has ended."""

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lightning_mtl.sweeps.child import Fit
from lightning_mtl.sweeps.configs import Config, run_config
from lightning_mtl.sweeps.methods import with_grid_point
from lightning_mtl.sweeps.outcomes import (
    Outcome,
    best_choice,
    finished,
    folder_of,
    score,
    write_outcome,
)
from lightning_mtl.sweeps.plan import Phase, Plan, Run
from lightning_mtl.sweeps.progress import Progress
from lightning_mtl.sweeps.queue import Queue, RunFailed
from lightning_mtl.sweeps.runs import Stopped, train

PAUSE = 1.0
"""Seconds after which a worker looks again for runs that became free."""

WORST = -1e9
"""The score of a run whose metrics are no numbers: a database takes only numbers."""


@dataclass(frozen=True)
class Slot:
    """Where one worker executes its runs.

    Args:
        threads: of the processor that each run may use.
        device: number of the GPU; `None` leaves the choice to the config.
    """

    threads: int
    device: int | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Variables for the process of a run."""
        return {} if self.device is None else {"CUDA_VISIBLE_DEVICES": str(self.device)}


class Sweep:
    """Works on a plan, together with any other process that has the same folder and database.

    Args:
        plan: what is to be done.
        configs: whole configs by their names in the plan.
        folder: of the sweep.
        queue: which run is next.
        slots: one for each worker of this process.
        fit: the command line, which trains a run by its config.
        progress: told about every run that begins and ends.
    """

    def __init__(
        self,
        plan: Plan,
        configs: Mapping[str, Config],
        folder: Path,
        queue: Queue,
        slots: list[Slot],
        fit: Fit,
        progress: Progress,
    ) -> None:
        self.plan = plan
        self.configs = configs
        self.folder = folder
        self.queue = queue
        self.slots = slots
        self.fit = fit
        self.progress = progress
        self._stop = threading.Event()
        self._errors: list[BaseException] = []

    def run(self) -> None:
        """Execute runs until all of the plan have ended, those of other processes included.

        Raises:
            KeyboardInterrupt: if the user stops it; the runs at work are ended, and start again in
                the next sweep with this folder.
        """
        workers = [
            threading.Thread(target=self._work, args=(slot,), name=f"worker {number}")
            for number, slot in enumerate(self.slots)
        ]
        for worker in workers:
            worker.start()
        try:
            for worker in workers:
                while worker.is_alive():
                    worker.join(0.2)
        finally:
            self._stop.set()
            for worker in workers:
                worker.join()
        if self._errors:
            raise self._errors[0]

    def _work(self, slot: Slot) -> None:
        try:
            levels = sorted({phase.level for phase in self.plan.phases})
            for level in levels:
                self._work_on([each for each in self.plan.phases if each.level == level], slot)
        except Stopped:
            pass
        except BaseException as error:  # noqa: BLE001 - the main thread raises it again
            self._errors.append(error)
            self._stop.set()

    def _work_on(self, phases: list[Phase], slot: Slot) -> None:
        """Take runs of some phases until none of these is open."""
        while not self._stop.is_set():
            took = False
            for phase in phases:
                while not self._stop.is_set() and self.queue.take(
                    phase, self._known, lambda run: self._execute(run, slot)
                ):
                    took = True
                    self.progress.recount(self.queue.ended())
            if not took:
                self.progress.recount(self.queue.ended())
                if not any(self.queue.open_runs(phase) for phase in phases):
                    return
                self._stop.wait(PAUSE)

    def _known(self, run: Run) -> float | None:
        """The score of a run that has its outcome in the folder."""
        outcome = finished(self.folder, run)
        return None if outcome is None else self._score(run, outcome)

    def _execute(self, run: Run, slot: Slot) -> float:
        self.progress.begins(run)
        try:
            outcome, reached = self._outcome(run, slot)
        except RunFailed as error:
            self.progress.failed(run, str(error))
            raise
        except BaseException:
            self.progress.stopped(run)
            raise
        self.progress.ended(run, reached, outcome.seconds)
        return reached

    def _outcome(self, run: Run, slot: Slot) -> tuple[Outcome, float]:
        """Train a run, note what it came to in its folder, and return that with its score."""
        folder = folder_of(self.folder, run)
        choice = run.choice
        try:
            if choice is None:
                choice = best_choice(self.plan, run.method, self.folder)
            config = run_config(
                self.configs[run.method.config],
                folder,
                with_grid_point(run.method, choice.weights),
                run.seed,
                self.plan.rate_key,
                choice.learning_rate,
                self.plan.keep_checkpoints,
            )
            found = train(config, folder, self.fit, slot.environment, slot.threads, self._stop)
            outcome = Outcome(choice=choice, **found)
            reached = self._score(run, outcome)
        except (RunFailed, ValueError) as error:
            failure = Outcome(
                {}, choice or self.plan.choices(run.method)[0], 0.0, failure=str(error)
            )
            write_outcome(folder, failure)
            raise RunFailed(str(error)) from error
        write_outcome(folder, outcome)
        return outcome, reached

    def _score(self, run: Run, outcome: Outcome) -> float:
        reached = score(self.plan, run, outcome.metrics, self.folder)
        return reached if math.isfinite(reached) else WORST
