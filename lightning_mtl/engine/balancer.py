"""What the engine asks of those that balance the tasks and of those that only observe."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from lightning_mtl.engine.coming import Coming
from lightning_mtl.engine.micro_batch import MicroBatch
from lightning_mtl.engine.task_output import TaskOutput


class Balancer(Protocol):
    """What the engine asks of a weighting; `lightning_mtl.callbacks.Weighting` is one.

    Attributes:
        tasks: the names of all tasks; set at the first step, or restored from a checkpoint.
        learned: what the graphs of the run have shown of its parameters, see `Partition.state`; set
            by the engine, or restored from a checkpoint.
        prior: what multiplies the losses of tasks before they are balanced, by name; 1 for others.
        positive_losses: whether a negative loss is an error.
        reweights: whether the weighted sum of the losses differs from the plain one.
        follows_graph: whether it asks which parameters are shared.
    """

    tasks: tuple[str, ...]
    learned: Mapping[str, Sequence[str]]
    prior: Mapping[str, float]
    positive_losses: ClassVar[bool]
    reweights: ClassVar[bool]

    @property
    def follows_graph(self) -> bool:
        """Whether it asks which parameters are shared, so that every graph has to be walked."""

    def begin_window(self) -> None:
        """Called before the first micro-batch of each optimizer step."""

    def snapshot(self, keeps_vectors: bool) -> Any:
        """What it remembers now. Called before each step of the optimizer.

        Args:
            keeps_vectors: whether vectors as large as the trunk may have to be restored as well.
        """

    def restore(self, snapshot: Any) -> None:
        """Remember what it did then. Called where a step evaluates the losses more than once."""

    def forget_step(self) -> None:
        """Called after a step that a loss scaler has skipped, when the memory was restored."""

    def prepare(self, coming: Coming) -> Sequence[Tensor]:
        """Called just before the losses of a micro-batch are computed.

        Returns:
            Leaves that their graph will hold beside the parameters; they count as shared ones.
        """

    def active(self, tasks: tuple[str, ...]) -> set[str]:
        """Which tasks the next backward pass trains. Called for each micro-batch."""

    def observe_losses(self, output: TaskOutput) -> None:
        """Called for each micro-batch after `active`, with the losses of all tasks of this rank.

        Also with those that the next backward pass does not train.
        """

    def optimizer_step(self, optimizer: Any, step: Callable[[], Any]) -> None:
        """Called in place of the optimizer's step.

        Args:
            optimizer: Lightning's wrapper of it.
            step: runs the forward and backward pass, then steps.
        """

    def total(self, micro_batch: MicroBatch) -> Tensor:
        """The loss that `training_step` returns."""

    def backward(self, micro_batch: MicroBatch, loss: Tensor) -> None:
        """Differentiate the total, which Lightning has scaled since, and write the gradients."""

    def catch_up(self, micro_batch: MicroBatch) -> None:
        """Called after a backward pass that the strategy has run on its own."""

    def logs(self) -> dict[str, Tensor]:
        """What else to log under `train/`. Called at the end of each optimizer step."""


class Observer(Protocol):
    """Something that looks at the gradients of a step and changes nothing."""

    def prepare(self, coming: Coming) -> Sequence[Tensor]:
        """Called just before the losses of a micro-batch are computed, after the balancer's.

        Returns:
            Leaves that their graph will hold beside the parameters; they count as shared ones.
        """

    def observe(self, micro_batch: MicroBatch) -> None:
        """Look at a micro-batch before its backward pass."""

    def conclude(self, micro_batch: MicroBatch) -> dict[str, Tensor]:
        """Look at the window when its weights are known; what to log under `train/`."""


class PlainSum:
    """The balancer of a module without a weighting: Σ L_k."""

    tasks: tuple[str, ...] = ()
    learned: Mapping[str, Sequence[str]] = MappingProxyType({})
    prior: Mapping[str, float] = MappingProxyType({})
    positive_losses: ClassVar[bool] = False
    reweights: ClassVar[bool] = False
    follows_graph = False

    def begin_window(self) -> None:
        """No-op: nothing is added up."""

    def snapshot(self, keeps_vectors: bool) -> None:
        """No-op: nothing is remembered from step to step."""

    def restore(self, snapshot: Any) -> None:
        """No-op: nothing is remembered from step to step."""

    def forget_step(self) -> None:
        """No-op: nothing is learned from a step."""

    def prepare(self, coming: Coming) -> Sequence[Tensor]:
        """No leaves: nothing is measured."""
        return ()

    def active(self, tasks: tuple[str, ...]) -> set[str]:
        """The names of all tasks: every task is trained."""
        return set(tasks)

    def observe_losses(self, output: TaskOutput) -> None:
        """No-op: nothing is learned from the losses."""

    def optimizer_step(self, optimizer: Any, step: Callable[[], Any]) -> None:
        """One optimizer step for each batch."""
        step()

    def total(self, micro_batch: MicroBatch) -> Tensor:
        """The plain sum of the losses, Σ L_k."""
        if micro_batch.waits_for_counts:
            return micro_batch.total()
        weights = torch.ones_like(micro_batch.losses)
        micro_batch.record_weights(micro_batch.present, weights)
        return micro_batch.total(None if micro_batch.is_plain else weights)

    def backward(self, micro_batch: MicroBatch, loss: Tensor) -> None:
        """Run one plain backward pass, as Lightning does, unless losses count by their labels."""
        if micro_batch.waits_for_counts:
            micro_batch.gather_plain(micro_batch.differentiate(loss))
        else:
            micro_batch.backward(loss)

    def catch_up(self, micro_batch: MicroBatch) -> None:
        """No-op: nothing is learned from a step."""

    def logs(self) -> dict[str, Tensor]:
        """Nothing beside losses and weights."""
        return {}
