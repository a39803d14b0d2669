"""`TrainingStepLosses`: an adapter for modules whose `training_step` returns the task losses."""

from typing import Any

from torch import Tensor

from lightning_mtl.module import MultiTaskModule


class TrainingStepLosses(MultiTaskModule):
    """A multi-task module whose losses are those that an existing `training_step` returns.

    For `class Mine(TrainingStepLosses, TheirModule)`, in any order of the two, where
    `TheirModule.training_step` returns `{"loss": ..., "losses": {task: loss}}`. No line more is
    needed. Its `"loss"` is not used: the weighting decides how the losses are summed, and without
    one they are summed as they are. What the step logs is logged as before.
    """

    def task_losses(self, batch: Any) -> dict[str, Tensor]:
        """The losses under the key `"losses"` of what their `training_step` returns.

        Raises:
            TypeError: if no module with a `training_step` is mixed in, or if it returns no losses.
        """
        name = type(self).__name__
        theirs: Any = next(
            base
            for base in type(self).__mro__
            if "training_step" in vars(base) and not issubclass(base, MultiTaskModule)
        )
        output = theirs.training_step(self, batch, self.trainer.fit_loop.batch_idx)
        if not isinstance(output, dict) or not isinstance(output.get("losses"), dict):
            found = sorted(output) if isinstance(output, dict) else type(output).__name__
            raise TypeError(
                f"The `training_step` that is mixed into `{name}` should return"
                f' `{{"loss": ..., "losses": {{task: loss}}}}`. Found {found}. Return the losses'
                " there, or derive from `MultiTaskModule` and write `task_losses`."
            )
        return output["losses"]
