"""What a module of several losses does around its steps, apart from the hooks that users write."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint


class Bookkeeping(L.Callback):
    """Calls a `MultiTaskModule`'s bookkeeping, so that its hooks stay empty, as Lightning's are.

    Whoever overrides a hook of a LightningModule calls no `super()`: there is nothing to call. The
    module attaches this callback in its first step, where no subclass can leave it out.

    Args:
        module: of which it keeps the books; a Trainer may go on with another one.
    """

    def __init__(self, module: Any) -> None:
        self.module = module

    @classmethod
    def attach(cls, trainer: L.Trainer, module: Any) -> bool:
        """Join the Trainer's callbacks, unless the module's is there already.

        It stands before those that write checkpoints, which look at what has been logged.

        Returns:
            Whether none was there.
        """
        callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        own = [callback for callback in callbacks if isinstance(callback, cls)]
        if any(callback.module is module for callback in own):
            return False
        savers = [k for k, callback in enumerate(callbacks) if isinstance(callback, Checkpoint)]
        callbacks.insert(min(savers, default=len(callbacks)), cls(module))
        return True

    def on_after_backward(self, trainer: L.Trainer, pl_module: Any) -> None:  # noqa: D102
        if pl_module is self.module:
            pl_module.conclude_backward()

    def on_train_batch_end(  # noqa: D102
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if pl_module is self.module:
            pl_module.log_step()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:  # noqa: D102
        if pl_module is self.module:
            pl_module.start_window()

    def on_save_checkpoint(  # noqa: D102
        self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        if pl_module is self.module:
            pl_module.check_state()

    def on_fit_end(self, trainer: L.Trainer, pl_module: Any) -> None:  # noqa: D102
        if pl_module is self.module:
            pl_module.end_fit()
