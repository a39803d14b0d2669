"""The callback that logs what a module's metrics have added up."""

from typing import Any

import lightning as L

from lightning_mtl.evaluation.evaluation import Evaluation

__all__ = ["EvaluationHooks"]


class EvaluationHooks(L.Callback):
    """Logs the metrics of a `MultiTaskModule` when a pass of validation or test ends.

    It is attached in the first evaluation step, so that the hooks of a module stay its user's.

    Args:
        module: whose metrics they are; a Trainer may go on with another one.
    """

    def __init__(self, module: Any) -> None:
        self.module = module
        self.evaluations: dict[str, Evaluation] = {}

    @classmethod
    def find(cls, trainer: L.Trainer, module: Any) -> "EvaluationHooks | None":
        """Those of a module among the Trainer's callbacks; `None` before its first evaluation."""
        callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        hooks = (callback for callback in callbacks if isinstance(callback, cls))
        return next((each for each in hooks if each.module is module), None)

    @classmethod
    def of(cls, trainer: L.Trainer, module: Any) -> "EvaluationHooks":
        """Those of a module, which join the Trainer's callbacks if they are not among them.

        They stand before those that write checkpoints, which look at what has been logged.
        """
        found = cls.find(trainer, module)
        if found is not None:
            return found
        callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        # Asked of the Trainer, as one of `pytorch_lightning` has a class of its own for them.
        savers = [callbacks.index(saver) for saver in trainer.checkpoint_callbacks]
        hooks = cls(module)
        callbacks.insert(min(savers, default=len(callbacks)), hooks)
        return hooks

    def evaluation(self, stage: str) -> Evaluation:
        """The metrics of a stage, asked of the module where the stage has none yet.

        Args:
            stage: "val" or "test", as in the names of what is logged.
        """
        if stage not in self.evaluations:
            self.evaluations[stage] = Evaluation(
                self.module.task_metrics(), self.module.baselines, type(self.module).__name__
            )
        return self.evaluations[stage]

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget a validation that was interrupted. Called before the first batch."""
        self._reset("val", pl_module)

    def on_test_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget a test that was interrupted. Called before the first batch."""
        self._reset("test", pl_module)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the metrics of the validation. Called after the last batch."""
        self._log("val", pl_module)

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the metrics of the test. Called after the last batch."""
        self._log("test", pl_module)

    def _reset(self, stage: str, pl_module: L.LightningModule) -> None:
        if pl_module is self.module and stage in self.evaluations:
            self.evaluations[stage].reset()

    def _log(self, stage: str, pl_module: L.LightningModule) -> None:
        if pl_module is not self.module or stage not in self.evaluations:
            return
        evaluation = self.evaluations[stage]
        values = evaluation.compute()
        delta = evaluation.delta_mtl(values)
        evaluation.reset()
        logged: dict[str, Any] = {
            f"{stage}/{task}/{name}": value
            for task, named in values.items()
            for name, value in named.items()
        }
        if delta is not None:
            logged[f"{stage}/delta_mtl"] = delta
        # The metrics have added up the ranks: the mean over these changes nothing, and without it
        # Lightning warns of every key.
        pl_module.log_dict(logged, sync_dist=True)
