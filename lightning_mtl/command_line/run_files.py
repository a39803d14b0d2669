"""The files of a run: its config, and the numbers of its later tests beside those of training."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning as L
from jsonargparse import get_loader
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter


class SaveConfig(SaveConfigCallback):
    """Saves the whole config in the folder of a run, and hands it to the loggers.

    No file that is there is overwritten. Without a logger there is no such folder, only the working
    directory: nothing is saved then.

    Args:
        folder: where to save; by default in the folder of the log.
    """

    def __init__(self, *args: Any, folder: Path | None = None, **settings: Any) -> None:
        super().__init__(*args, **{**settings, "save_to_log_dir": False})
        self.folder = folder

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Save under a name that is free, called when a run starts."""
        # The Trainer asks the other ranks for the folder, so all of them come here.
        log_dir = trainer.log_dir if trainer.loggers else None
        if log_dir is None or self.already_saved:
            return
        self.folder = self.folder or Path(log_dir)
        super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Write the file, and `hparams.yaml` by the loggers; called on one rank."""
        assert self.folder is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        path = free_path(self.folder / self.config_filename)
        self.parser.save(self.config, path, skip_none=False)
        config = self.parser.dump(self.config, skip_none=False, format="yaml")
        _log(trainer.loggers, get_loader("yaml")(config))


class EvaluationLogger(CSVLogger):
    """Writes the numbers of a test or validation into a folder of their own within a run's.

    Lightning's `CSVLogger` would delete the numbers of training, which lie in the run's folder.

    Args:
        run: the folder of the run, which is that of the log.
        folder: where `metrics.csv` goes.
    """

    def __init__(self, run: Path, folder: Path) -> None:
        super().__init__(save_dir=run.parent, name="", version=run.name)
        self.folder = folder

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The writer of the numbers, which makes the folder when it is first asked for."""
        if self._experiment is None:
            self._experiment = ExperimentWriter(log_dir=str(self.folder))
        return self._experiment


def loggers_of_run(
    loggers: Logger | Iterable[Logger] | bool | None, run: Path, folder: Path
) -> list[Logger] | bool:
    """The loggers of a config, made to write into the folder of a run that is there.

    Args:
        loggers: as the Trainer takes them.
        run: the folder of the run.
        folder: where numbers go that the run's own files have no place for.
    """
    if loggers is False:
        return False
    if loggers is None or loggers is True:
        return [_in_run(TensorBoardLogger(run.parent), run, folder)]
    return [
        _in_run(logger, run, folder)
        for logger in ([loggers] if isinstance(loggers, Logger) else loggers)
    ]


def share_folder(loggers: Iterable[Logger]) -> None:
    """Let loggers with one root have one folder, called before any of them writes.

    Each takes the next free number when it is first asked for it: later, the first logger's folder
    would be in the way of the second.
    """
    versions = [
        logger.version for logger in loggers if isinstance(logger, CSVLogger | TensorBoardLogger)
    ]
    assert None not in versions


def free_path(path: Path) -> Path:
    """The path, with a number added to its name if there is such a file or folder already."""
    free, number = path, 0
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}_{number}{path.suffix}")
    return free


def _in_run(logger: Logger, run: Path, folder: Path) -> Logger:
    if isinstance(logger, TensorBoardLogger):
        return TensorBoardLogger(run.parent, name="", version=run.name)
    return EvaluationLogger(run, folder) if isinstance(logger, CSVLogger) else logger


def _log(loggers: Iterable[Logger], config: dict[str, Any]) -> None:
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            # Without any metric, the placeholder `hp_metric` would be drawn as a curve.
            logger.log_hyperparams(config, metrics={})
        else:
            logger.log_hyperparams(config)
