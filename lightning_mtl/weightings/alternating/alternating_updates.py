"""Alternating independent updates of groups of tasks: random, of like effect or of one colour."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, ClassVar, Literal, get_args

import lightning as L
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lightning_mtl.checks import check_choice
from lightning_mtl.distributed import world_size
from lightning_mtl.engine.micro_batch import MicroBatch
from lightning_mtl.engine.replay import uncounted
from lightning_mtl.engine.task_output import TaskOutput
from lightning_mtl.engine.trainer_facts import skips_backward
from lightning_mtl.module import MultiTaskModule
from lightning_mtl.weightings.alternating.group_states import GroupStates
from lightning_mtl.weightings.alternating.groupings.affinity_groups import AffinityGroups
from lightning_mtl.weightings.alternating.groupings.conflict_groups import ConflictGroups
from lightning_mtl.weightings.alternating.groupings.grouping import Grouping, OptimizerState
from lightning_mtl.weightings.alternating.groupings.random_groups import Order, RandomGroups
from lightning_mtl.weightings.alternating.measured_step import differentiate_for_all
from lightning_mtl.weightings.alternating.path import Path
from lightning_mtl.weightings.bases.common import Common, Unpack
from lightning_mtl.weightings.bases.weighting import Weighting

Regroup = Literal["never", "epoch", "step", "affinity", "conflicts"]


class AlternatingUpdates(Weighting):
    r"""Alternating updates: groups of tasks take their steps in turn, each on a new forward pass.

    For every batch and every group in turn: zero the gradients, run the network as the groups
    before have left it, backpropagate the sum of this group's losses only, step. With one
    optimizer state per group (its moments and step counts of the shared parameters, never reset)
    the updates of the groups are independent, and with Adam the scale of a loss no longer matters.

    Pascal, Michiardi, Bost, Huet & Zuluaga, "Improved optimization strategies for deep Multi-Task
    Networks", arXiv 2109.11678 (2021): `"per_group"` is its IO, `"shared"` its IUS; one group of
    all tasks is plain training, its SUS.

    `regroup="affinity"` clusters the tasks for every batch by their proximal affinities A_st, the
    running mean of 1 - L_t after / L_t before the steps of task s, over the size of its group. The
    groups come in random order. The pass of each group shows what the step before has done; the
    last step of a batch is not judged. A single group steps twice. Clustering waits for the device
    once a batch, and needs scikit-learn.

    Jeong & Yoon, "Selective Task Group Updates for Multi-Task Optimization", ICLR 2025, and the
    authors' code.

    `regroup="conflicts"` colours the graph in which tasks with -cos(g_i, g_j) > τ are joined, by
    the averaged Gramian of the shared parameters. One colour steps on each batch, in turn: a batch
    does not train every task. Every R-th batch is differentiated for all tasks, which are coloured
    again; that waits for the device once.

    Patapati & Srinivasan, "Graph Coloring for Multi-Task Learning", arXiv 2509.16959 (2025).

    Scale: all weights are 1. The shared parameters move up to n times as far per batch as with one
    step, for n groups: tune the learning rate for each method. Not so with `"conflicts"`, where a
    batch has one step, and each head sees one batch in n.
    Heads: stepped with their group; the others are left alone, momentum and decay included.
    Batch norm's running statistics see as many passes of each batch as it has steps. Metrics among
    the submodules and `log` count once a batch, in its first pass. What else `task_losses` changes
    (a counter or a list of the module, a file), it changes in each of them.
    Memory: one optimizer state of the trunk for each group, in checkpoints too; K P numbers for the
    task gradients of the batches that `"conflicts"` measures.
    Deviations: the authors' IUS lets Adam move idle heads by their momentum; here they rest.
    Gradient accumulation is refused: a group would need all micro-batches again. So is an
    `optimizer_step` of the module's own that does not call `super().optimizer_step`.
    `"affinity"`: a change of the losses counts for the group whose step made it, in the authors'
    code for the one after it; tasks that have never lowered their own loss stay alone; where
    affinity propagation does not settle, it is damped more. `"conflicts"`: the paper averages the
    gradients of each task, here their products are averaged, over the measured batches; the
    defaults of τ, R and β are not the paper's.

    Logged beside losses and weights: `train/group/<task>`, and of the shared parameters θ since the
    start `train/path_length` Σ ||Δθ||, `train/displacement` ||θ - θ_0|| and `train/exploration`,
    their ratio.

    Args:
        group_size: tasks per random group; the last group may be smaller.
        optimizer_state: of the shared parameters: one per group, or one for all. By default one
            per random group, and one for all groups that are found, as in the papers. States
            follow the groups' places.
        regroup: draw random groups once ("never"), every epoch or every step, or find them by
            their affinities or conflicts.
        order: of random groups within a batch: "fixed" or "random". Groups of one task are not
            drawn: their fixed order is that of the tasks, as in the authors' code.
        seed: of groups and orders, which are alike on every rank and saved with checkpoints; by
            default that of `seed_everything`.
        track_path: measure how far the shared parameters go; takes two copies of them.
        affinity_decay: d of the affinities, A ← (1 - d) A + d B.
        affinity_warm_up: for how many batches each task is first a group of its own.
        conflict_tolerance: τ, the conflict that tasks of one colour may have.
        conflict_every_n_steps: R, how many batches there are from one colouring to the next.
        conflict_decay: β of the averaged Gramian, G ← β G + (1 - β) G_t.
        common: what every weighting takes, see `Weighting`.

    Example:
        >>> rule = AlternatingUpdates(group_size=2, seed=0)
        >>> rule.grouping.turns(3)  # of three tasks: the groups step in this order
        [0, 1]
        >>> rule.grouping.groups()
        [[0, 2], [1]]
    """

    reweights: ClassVar[bool] = False

    def __init__(
        self,
        group_size: int = 1,
        optimizer_state: OptimizerState | None = None,
        regroup: Regroup = "never",
        order: Order = "fixed",
        seed: int | None = None,
        track_path: bool = True,
        affinity_decay: float = 1e-3,
        affinity_warm_up: int = 100,
        conflict_tolerance: float = 0.1,
        conflict_every_n_steps: int = 32,
        conflict_decay: float = 0.9,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(**common)
        check_choice("AlternatingUpdates", "regroup", regroup, get_args(Regroup))
        if regroup in ("affinity", "conflicts") and (group_size, order) != (1, "fixed"):
            raise ValueError(
                f'`AlternatingUpdates(regroup="{regroup}")` should find groups and their order by'
                f' itself. Found group_size={group_size} and order="{order}". Leave both out.'
            )
        self.grouping: Grouping
        if regroup == "affinity":
            self.grouping = AffinityGroups(self.memory, seed, affinity_decay, affinity_warm_up)
        elif regroup == "conflicts":
            self.grouping = ConflictGroups(
                self.memory, conflict_tolerance, conflict_every_n_steps, conflict_decay
            )
        else:
            self.grouping = RandomGroups(self.memory, group_size, regroup, order, seed)
        self.optimizer_state = optimizer_state or self.grouping.optimizer_state
        choices = get_args(OptimizerState)
        check_choice("AlternatingUpdates", "optimizer_state", self.optimizer_state, choices)
        self.track_path = track_path
        self._states = GroupStates()
        self._path = Path(self.memory)
        self._module: MultiTaskModule | None = None
        self._turns: list[int] = []
        self._turn = 0
        self._group: list[int] = []
        self._evaluations = 0
        self._stepping = False

    @property
    def price(self) -> str:  # type: ignore[override]
        """The price of a batch, by the grouping and by who has optimizer states."""
        several = self.optimizer_state == "per_group"
        return self.grouping.price + ", and n optimizer states of the trunk" * several

    def warm_up(self, steps_per_epoch: float) -> float:
        """How many batches pass before groups are found."""
        return self.grouping.warm_up

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
            if self._turns and self.optimizer_state == "per_group":
                place, shared = self._turns[self._turn], self._shared()
                self._states.swap_in(optimizer.optimizer, place, shared, self._parameters())
            before = self._snapshot()
            self._evaluations = 0
            # What is counted and logged of a batch is what the first group sees of it.
            with nullcontext() if self._turn == 0 else uncounted(self._module):
                step()
            shared = self._shared()
            if self.track_path and shared:
                self._path.add(shared, before)
            if self.optimizer_state == "per_group":
                self._states.keep(optimizer.optimizer, self._turns[self._turn], shared)
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
        # A first step that evaluates the losses again has forgotten what it drew.
        if not self._turns or not self.grouping.drawn:
            self._turns = self._draw(tasks)
        self._group = self.grouping.groups()[self._turns[self._turn]]
        return set(tasks) if self._measures else {tasks[index] for index in self._group}

    def observe_losses(self, output: TaskOutput) -> None:
        """Let the grouping learn from all losses. Called after `active`.

        Of several evaluations within one step the first counts.
        """
        if self._stepping and self._evaluations == 0:
            self.grouping.observe_losses(output, self.tasks, self._turns[self._turn])
        self._evaluations += 1

    def total(self, micro_batch: MicroBatch) -> Tensor:
        """The sum of the losses of the group whose turn it is, or of all that are measured."""
        if self._measures:
            return micro_batch.total()
        weights = torch.ones_like(micro_batch.losses)
        micro_batch.record_weights(micro_batch.present, weights)
        return micro_batch.total(weights)

    def backward(self, micro_batch: MicroBatch, loss: Tensor) -> None:
        """Run one plain backward pass, as Lightning does, which leaves the other heads alone.

        Where the grouping measures, one for every task, of which this group's are written.
        """
        if self._measures:
            gramian = differentiate_for_all(micro_batch, loss, self._group)
            if gramian is not None:
                self.grouping.observe_gramian(micro_batch.window.present, gramian)
            return
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
        return logs | self._path.logs()

    def state_dict(self) -> dict[str, Any]:
        """The memory, the origin and every group's optimizer states, for a checkpoint."""
        states = {"optimizer_states": self._states.states, "origin": self._path.origin}
        return super().state_dict() | states

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned. Called when a run resumes."""
        super().load_state_dict(state_dict)
        self._states.states = state_dict["optimizer_states"]
        self._path.origin = dict(state_dict["origin"])

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

    @property
    def _measures(self) -> bool:
        """Whether this batch is differentiated for every task."""
        return self._stepping and self.grouping.measures

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
        return {name: p for name, p in self._parameters().items() if p in shared}

    def _parameters(self) -> dict[str, Tensor]:
        assert self._module is not None
        return dict(self._module.named_parameters())

    def _snapshot(self) -> dict[str, Tensor]:
        if not self.track_path:
            return {}
        # All of them: which are shared is not known before the first pass.
        shared = self._shared() or self._parameters()
        return {name: parameter.detach().clone() for name, parameter in shared.items()}
