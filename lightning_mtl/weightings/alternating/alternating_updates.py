"""Alternating independent updates with random task grouping."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, ClassVar, Literal, get_args

import lightning as L
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torch.optim import Optimizer

from lightning_mtl.checks import check_choice
from lightning_mtl.distributed import world_size
from lightning_mtl.engine.gradients import norms
from lightning_mtl.engine.micro_batch import MicroBatch
from lightning_mtl.engine.replay import uncounted
from lightning_mtl.engine.trainer_facts import skips_backward
from lightning_mtl.module import MultiTaskModule
from lightning_mtl.weightings.alternating.grouping import Grouping, Order, Regroup
from lightning_mtl.weightings.bases.common import Common, Unpack
from lightning_mtl.weightings.bases.weighting import Weighting

OptimizerState = Literal["per_group", "shared"]


class AlternatingUpdates(Weighting):
    r"""Alternating updates: groups of tasks take their steps in turn, each on a new forward pass.

    For every batch and every group in turn: zero the gradients, run the network as the groups
    before have left it, backpropagate the sum of this group's losses only, step. With one
    optimizer state per group (its moments and step counts of the shared parameters, never reset)
    the updates of the groups are independent, and with Adam the scale of a loss no longer matters.

    Pascal, Michiardi, Bost, Huet & Zuluaga, "Improved optimization strategies for deep Multi-Task
    Networks", arXiv 2109.11678 (2021): `"per_group"` is its IO, `"shared"` its IUS; one group of
    all tasks is plain training, its SUS.

    Scale: all weights are 1. The shared parameters move up to n times as far per batch as with one
    step, for n groups: tune the learning rate for each method.
    Heads: stepped with their group; the others are left alone, momentum and decay included.
    Batch norm's running statistics see n passes of each batch. Metrics among the submodules and
    `log` count once a batch, in the pass of the first group. What else `task_losses` changes (a
    counter or a list of the module, a file), it changes n times.
    Memory: one optimizer state of the trunk for each group, in checkpoints too.
    Deviations: the authors' IUS lets Adam move idle heads by their momentum; here they rest.
    Gradient accumulation is refused: a group would need all micro-batches again. So is an
    `optimizer_step` of the module's own that does not call `super().optimizer_step`.

    Logged beside losses and weights: `train/group/<task>`, and of the shared parameters θ since the
    start `train/path_length` Σ ||Δθ||, `train/displacement` ||θ - θ_0|| and `train/exploration`,
    their ratio.

    Args:
        group_size: tasks per group; the last group may be smaller.
        optimizer_state: of the shared parameters: one per group, or one for all.
        regroup: draw the groups once ("never"), every epoch or every step. Optimizer states then
            follow the groups' places.
        order: of the groups within a batch: "fixed" or "random". Groups of one task are not drawn:
            their fixed order is that of the tasks, as in the authors' code.
        seed: of groups and orders, which are alike on every rank and saved with checkpoints; by
            default that of `seed_everything`.
        track_path: measure how far the shared parameters go; takes two copies of them.
        common: what every weighting takes, see `Weighting`.

    Example:
        >>> rule = AlternatingUpdates(group_size=2, seed=0)
        >>> rule.grouping.turns(3)  # of three tasks: the groups step in this order
        [0, 1]
        >>> rule.grouping.groups()
        [[0, 2], [1]]
    """

    price: ClassVar[str] = "n (F + B) + H for n groups, and n optimizer states of the trunk"
    reweights: ClassVar[bool] = False

    def __init__(
        self,
        group_size: int = 1,
        optimizer_state: OptimizerState = "per_group",
        regroup: Regroup = "never",
        order: Order = "fixed",
        seed: int | None = None,
        track_path: bool = True,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(**common)
        choices = get_args(OptimizerState)
        check_choice("AlternatingUpdates", "optimizer_state", optimizer_state, choices)
        self.grouping = Grouping(self.memory, group_size, regroup, order, seed)
        self.optimizer_state = optimizer_state
        self.track_path = track_path
        # By group, then by the name of the shared parameter.
        self._states: list[dict[str, Any]] = []
        self._path_length = self.memory.single("path_length")
        self._displacement = self.memory.single("displacement")
        # Where the shared parameters set out from, by their names.
        self._origin: dict[str, Tensor] = {}
        self._module: MultiTaskModule | None = None
        self._turns: list[int] = []
        self._turn = 0
        self._stepping = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Check module and Trainer as every weighting does, and refuse gradient accumulation."""
        super().setup(trainer, pl_module, stage)
        assert isinstance(pl_module, MultiTaskModule)
        self._module = pl_module
        accumulate = trainer.accumulate_grad_batches
        if accumulate != 1:
            self._refuse_accumulation(str(accumulate))
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, GradientAccumulationScheduler):
                found = {epoch: n for epoch, n in callback.scheduling.items() if n != 1}
                if found:
                    self._refuse_accumulation(f"a `GradientAccumulationScheduler` of {found}")

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget the groups if each epoch has its own. Called as each epoch starts."""
        # A run that resumes within an epoch keeps the epoch's groups.
        if trainer.fit_loop.epoch_loop.batch_progress.current.ready == 0:
            self.grouping.start_epoch()

    def optimizer_step(self, optimizer: Any, step: Callable[[], Any]) -> None:
        """Take one optimizer step for every group. Called in place of the optimizer's step."""
        assert self._module is not None
        if self._only_forward:
            step()
            return
        self._turns = self._draw(self.tasks) if self.tasks else []
        self._turn = 0
        self._stepping = True
        while self._turn < max(1, len(self._turns)):
            # Nobody knows the tasks before the very first pass; there is nothing to swap then.
            if self._turns:
                self._swap_in(optimizer.optimizer, self._turns[self._turn])
            before = self._snapshot()
            # What is counted and logged of a batch is what the first group sees of it.
            with nullcontext() if self._turn == 0 else uncounted(self._module):
                step()
            self._track(before)
            self._keep(optimizer.optimizer, self._turns[self._turn])
            self._turn += 1
        self._stepping = False

    def active(self, tasks: tuple[str, ...]) -> set[str]:
        """The tasks of the group whose turn it is. Called between forward and backward pass.

        All tasks in an epoch of forward passes only.

        Raises:
            RuntimeError: if the module steps on its own, and only one group would ever be trained.
            ValueError: if gradients have come to be accumulated during the run.
        """
        if self._only_forward:
            return set(tasks)
        if not self._stepping:
            assert self._module is not None
            accumulate = self._module.trainer.accumulate_grad_batches
            if accumulate != 1:
                self._refuse_accumulation(str(accumulate))
            raise RuntimeError(
                "`AlternatingUpdates` should step once for every group, from the `optimizer_step`"
                f" of `MultiTaskModule`. Found that `{type(self._module).__name__}` steps without"
                " it. Instead of `optimizer.step(closure=optimizer_closure)`, write"
                " `super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)`."
            )
        if not self._turns:
            self._turns = self._draw(tasks)
        group = self.grouping.groups()[self._turns[self._turn]]
        return {tasks[index] for index in group}

    def total(self, micro_batch: MicroBatch) -> Tensor:
        """The sum of the losses of the group whose turn it is."""
        weights = torch.ones_like(micro_batch.losses)
        micro_batch.record_weights(micro_batch.present, weights)
        return micro_batch.total(weights)

    def backward(self, micro_batch: MicroBatch, loss: Tensor) -> None:
        """Run one plain backward pass, as Lightning does, which leaves the other heads alone."""
        micro_batch.backward(loss)
        if world_size() == 1:
            self._drop_zeros(micro_batch)

    def _drop_zeros(self, micro_batch: MicroBatch) -> None:
        """Take back the zeros of the other heads, so that neither momentum nor decay moves them.

        Autograd sends them where the losses are entries of one vector. Over several ranks,
        parameters that none of them uses have lost their gradients already.
        """
        partition = micro_batch.partition
        idle = set(micro_batch.usage.unused)
        for task, parameters in enumerate(partition.task_specific):
            if task not in micro_batch.local:
                for parameter in idle.intersection(parameters):
                    parameter.grad = None

    def logs(self) -> dict[str, Tensor]:
        """The group of each task, and how far the shared parameters have gone, to be logged."""
        groups = self.grouping.groups()
        logs = {
            f"group/{self.tasks[task]}": torch.tensor(float(place))
            for place, group in enumerate(groups)
            for task in group
        }
        path, displacement = self._path_length.values, self._displacement.values
        if path is not None and displacement is not None:
            logs |= {"path_length": path, "displacement": displacement}
            logs["exploration"] = path / displacement.clamp(min=1e-12)
        return logs

    def state_dict(self) -> dict[str, Any]:
        """The memory, the origin and every group's optimizer states, for a checkpoint."""
        return super().state_dict() | {"optimizer_states": self._states, "origin": self._origin}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned. Called when a run resumes."""
        super().load_state_dict(state_dict)
        self._states = state_dict["optimizer_states"]
        self._origin = dict(state_dict["origin"])

    def _refuse_accumulation(self, found: str) -> None:
        raise ValueError(
            "`AlternatingUpdates` should have `accumulate_grad_batches=1` in every epoch, as every"
            " group runs the batch again after the step of the group before it. Found"
            f" {found}. Use a larger batch."
        )

    @property
    def _only_forward(self) -> bool:
        """Whether this epoch renews the statistics of batch norm and trains no group."""
        assert self._module is not None
        return skips_backward(self._module.trainer)

    def _draw(self, tasks: tuple[str, ...]) -> list[int]:
        drawn = self.grouping.drawn
        turns = self.grouping.turns(len(tasks))
        if not drawn:
            groups = self.grouping.groups()
            named = " | ".join(", ".join(tasks[index] for index in group) for group in groups)
            rank_zero_info(f"AlternatingUpdates: groups {named}")
        return turns

    def _shared(self) -> dict[str, Tensor]:
        """The shared parameters by name; an empty dict before the first forward pass."""
        assert self._module is not None
        shared = set(self._module.shared_parameters())
        return {n: p for n, p in self._module.named_parameters() if p in shared}

    def _swap_in(self, optimizer: Optimizer, place: int) -> None:
        """Give the optimizer this group's state of the shared parameters, before its step."""
        if self.optimizer_state == "shared":
            return
        assert self._module is not None
        states = self._states[place] if place < len(self._states) else {}
        # A resumed run has states before its first pass shows what is shared.
        shared = set(self._shared()).union(*self._states)
        parameters = {n: p for n, p in self._module.named_parameters() if n in shared}
        for name, parameter in parameters.items():
            optimizer.state.pop(parameter, None)
            if name in states:
                optimizer.state[parameter] = {
                    key: _moved(value, parameter) if key != "step" else value
                    for key, value in states[name].items()
                }

    def _keep(self, optimizer: Optimizer, place: int) -> None:
        """Remember this group's state: the tensors themselves, which only its steps change."""
        if self.optimizer_state == "shared":
            return
        while len(self._states) <= place:
            self._states.append({})
        self._states[place] = {
            name: dict(optimizer.state[parameter])
            for name, parameter in self._shared().items()
            if parameter in optimizer.state
        }

    def _snapshot(self) -> dict[str, Tensor]:
        if not self.track_path:
            return {}
        assert self._module is not None
        # All of them: which are shared is not known before the first pass.
        shared = self._shared() or dict(self._module.named_parameters())
        return {name: parameter.detach().clone() for name, parameter in shared.items()}

    def _track(self, before: dict[str, Tensor]) -> None:
        """Add a step to the path length, and measure the displacement. Called after each step."""
        shared = self._shared()
        if not self.track_path or not shared:
            return
        after = [parameter.detach() for parameter in shared.values()]
        # A task that comes late may show more parameters to be shared: they set out from here.
        last = [before.get(name, value) for name, value in zip(shared, after, strict=True)]
        for name, value in zip(shared, last, strict=True):
            start = self._origin.get(name, value).to(value.device)
            self._origin[name] = start.clone() if start is value else start
        origin = [self._origin[name] for name in shared]
        moves = [list(torch._foreach_sub(after, last)), list(torch._foreach_sub(after, origin))]
        step, displacement = norms(moves)
        path = self._path_length.values
        self._path_length.values = step if path is None else path.to(step.device) + step
        self._displacement.values = displacement


def _moved(value: Any, parameter: Tensor) -> Any:
    """A value of an optimizer's state on the device of its parameter."""
    return value.to(parameter.device) if isinstance(value, Tensor) else value
