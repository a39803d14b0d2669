"""What a module of several losses does around its steps, apart from the hooks that users write."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint


class Bookkeeping(L.Callback):
    """Calls a `MultiTaskModule`'s bookkeeping, so that its hooks stay empty, as Lightning's are.

    Whoever overrides a hook of a LightningModule calls no `super()`: there is nothing to call. The
    module attaches this callback in its first step, where no subclass can leave it out.
    """

    @classmethod
    def attach(cls, trainer: L.Trainer) -> bool:
        """Join the Trainer's callbacks, unless one of this kind is there already.

        It stands before those that write checkpoints, which look at what has been logged.

        Returns:
            Whether none was there.
        """
        callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        if any(isinstance(callback, cls) for callback in callbacks):
            return False
        savers = [k for k, callback in enumerate(callbacks) if isinstance(callback, Checkpoint)]
        callbacks.insert(min(savers, default=len(callbacks)), cls())
        return True

    def on_after_backward(self, trainer: L.Trainer, pl_module: Any) -> None:  # noqa: D102
        pl_module.conclude_backward()

    def on_train_batch_end(  # noqa: D102
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        pl_module.log_step()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:  # noqa: D102
        pl_module.start_window()

    def on_save_checkpoint(  # noqa: D102
        self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        pl_module.check_state()

    def on_fit_end(self, trainer: L.Trainer, pl_module: Any) -> None:  # noqa: D102
        pl_module.end_fit()
