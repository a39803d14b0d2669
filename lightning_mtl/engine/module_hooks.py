"""The engine's own callback, so that a module's hooks stay its user's."""

from contextlib import ExitStack
from typing import Any

import lightning as L

from lightning_mtl.engine.terminal import logs_above_bars


class ModuleHooks(L.Callback):
    """Calls the engine of a `MultiTaskModule` from the Trainer's hooks.

    Whoever overrides a hook of a LightningModule calls no `super()`: there is nothing to call. The
    engine attaches this callback in its first step, where no subclass can leave it out.

    Args:
        engine: of one module; a Trainer may go on with another one.
    """

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self._terminal = ExitStack()

    @classmethod
    def attach(cls, trainer: L.Trainer, engine: Any) -> bool:
        """Join the Trainer's callbacks, unless the engine's hooks are there already.

        They stand before those that write checkpoints, which look at what has been logged.

        Returns:
            Whether none were there: a run has started, or has been rewound.
        """
        callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        hooks = [callback for callback in callbacks if isinstance(callback, cls)]
        if any(callback.engine is engine for callback in hooks):
            return False
        # Asked of the Trainer, as one of `pytorch_lightning` has a class of its own for them.
        savers = [callbacks.index(saver) for saver in trainer.checkpoint_callbacks]
        attached = cls(engine)
        callbacks.insert(min(savers, default=len(callbacks)), attached)
        attached._begin_logging(trainer)
        return True

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Forget the run before: these hooks may be left of it."""
        if pl_module is self.engine.module:
            self.engine.begin_run()
            self._begin_logging(trainer)

    def on_after_backward(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Catch up with a backward pass that the strategy has run on its own."""
        if pl_module is self.engine.module:
            self.engine.conclude_backward()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log what the last optimizer step has shown."""
        if pl_module is self.engine.module:
            self.engine.log.write(pl_module)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Start a new window: an epoch may have been interrupted within one."""
        if pl_module is self.engine.module:
            self.engine.reset_window()

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Refuse to save what a NaN may have spoiled."""
        if pl_module is self.engine.module:
            self.engine.check_state()

    def on_fit_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Look at the last losses, and forget the run."""
        if pl_module is self.engine.module:
            self.engine.end_run()

    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Forget the run, which Lightning does not end in the ordinary way."""
        self._terminal.close()
        if pl_module is self.engine.module:
            self.engine.begin_run()

    def teardown(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Let log lines go where they went before. The bar has been stopped by now."""
        self._terminal.close()

    def _begin_logging(self, trainer: L.Trainer) -> None:
        self._terminal.close()
        self._terminal.enter_context(logs_above_bars(trainer))
