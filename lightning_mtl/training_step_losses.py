"""`TrainingStepLosses`: an adapter for modules whose own `training_step` computes the losses."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor
from torch.nn import Module

from lightning_mtl.module import MultiTaskModule


class TrainingStepLosses(MultiTaskModule):
    """A multi-task module whose losses are those that an existing `training_step` computes.

    For `class Mine(TrainingStepLosses, TheirModule)`, in any order of the two. If
    `TheirModule.training_step` returns `{"loss": ..., "losses": {task: loss}}`, no line more is
    needed. If it returns only their sum, but each loss is the output of a submodule (a criterion,
    or a metric of torchmetrics), name these submodules in `loss_modules`. In other cases, derive
    from `MultiTaskModule` and write `task_losses`.

    Their `training_step` runs once for each batch: what it logs is logged as before, and metrics
    that it updates count once. Its `"loss"` is not used, and neither are weights in it or a
    regulariser that is not among the losses. The weighting of the Trainer decides how the losses
    are summed; without one they are summed as they are.

    Example:
        >>> import lightning as L
        >>> class Theirs(L.LightningModule):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.net = torch.nn.Linear(4, 2)
        ...         self.mse, self.l1 = torch.nn.MSELoss(), torch.nn.L1Loss()
        ...     def training_step(self, batch, batch_idx):
        ...         a, b = self.net(batch).unbind(dim=1)
        ...         return self.mse(a, batch[:, 0]) + self.l1(b, batch[:, 1])
        >>> class Mine(TrainingStepLosses, Theirs):
        ...     def loss_modules(self):
        ...         return {"first": self.mse, "second": self.l1}
    """

    def loss_modules(self) -> Mapping[str, Module]:
        """The submodule whose output is the loss, by the name of each task.

        Called before each training step. By default there are none, and the step returns the
        losses. A submodule that computes several losses, one after another, is named for each of
        these tasks, in the order of its calls. A task whose submodule is not called is absent.
        """
        return {}

    def task_losses(self, batch: Any) -> dict[str, Tensor]:
        """The losses that their `training_step` computes.

        Raises:
            TypeError: if no module with a `training_step` is mixed in, or if it returns no losses.
            ValueError: if it calls a loss module more or less often than the module has tasks.
        """
        theirs: Any = next(
            base
            for base in type(self).__mro__
            if "training_step" in vars(base) and not issubclass(base, MultiTaskModule)
        )
        # As in Lightning, a `training_step` need not take the index of the batch.
        takes_index = is_param_in_hook_signature(theirs.training_step, "batch_idx", min_args=2)
        index = [self.trainer.fit_loop.batch_idx] if takes_index else []
        modules = dict(self.loss_modules().items())
        with _outputs(modules.values()) as outputs:
            output = theirs.training_step(self, batch, *index)
        return self._computed(modules, outputs) if modules else self._returned(output)

    def _computed(
        self, modules: dict[str, Module], outputs: dict[int, list[Tensor]]
    ) -> dict[str, Tensor]:
        """The outputs of the loss modules, by task."""
        losses: dict[str, Tensor] = {}
        for module, found in outputs.items():
            tasks = [task for task in modules if id(modules[task]) == module]
            absent = not found and any(outputs.values())
            if len(found) != len(tasks) and not absent:
                raise ValueError(
                    f"A module in `{type(self).__name__}.loss_modules` should be called once for"
                    " each of its tasks by the `training_step` that is mixed in. Found"
                    f" {len(found)} calls for {tasks}. Derive from `MultiTaskModule` instead, and"
                    " write `task_losses`."
                )
            losses |= dict(zip(tasks, found, strict=False))
        return {task: losses[task] for task in modules if task in losses}

    def _returned(self, output: Any) -> dict[str, Tensor]:
        """The losses in what their `training_step` has returned."""
        if not isinstance(output, dict) or not isinstance(output.get("losses"), dict):
            found = sorted(output) if isinstance(output, dict) else type(output).__name__
            raise TypeError(
                f"The `training_step` that is mixed into `{type(self).__name__}` should return"
                f' `{{"loss": ..., "losses": {{task: loss}}}}`. Found {found}. Return the losses'
                " there, name the submodules that compute them in `loss_modules`, or derive from"
                " `MultiTaskModule` and write `task_losses`."
            )
        return output["losses"]


@contextmanager
def _outputs(modules: Iterable[Module]) -> Iterator[dict[int, list[Tensor]]]:
    """Collect what each module returns while the context lasts, by the `id` of the module."""
    # By identity: metrics compare and hash by their values.
    distinct = {id(module): module for module in modules}
    outputs: dict[int, list[Tensor]] = {key: [] for key in distinct}

    def keep(module: Module, arguments: Any, output: Tensor) -> Tensor:
        outputs[id(module)].append(output)
        # A copy for the step, which may add the next loss in place.
        return output.clone()

    hooks = [module.register_forward_hook(keep) for module in distinct.values()]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()
