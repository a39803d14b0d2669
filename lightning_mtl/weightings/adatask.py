"""The weighting AdaTask, with moments of the optimizer for each task."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import LBFGS, Optimizer

from lightning_mtl.engine.gradients import as_gradient_of, views_of
from lightning_mtl.engine.micro_batch import MicroBatch
from lightning_mtl.weightings.bases.common import Common, Unpack
from lightning_mtl.weightings.bases.jacobian_weighting import JacobianWeighting

States = dict[str, dict[str, Any]]
"""Of an optimizer, by the names of the parameters."""


class AdaTask(JacobianWeighting):
    r"""Task-wise adaptive learning rates: the optimizer has moments of its own for each task.

    With m_k and v_k the moments of task k's gradients, which none of the others enter, the shared
    parameters move by the sum of the tasks' steps, -η Σ_k m̂_k / (√v̂_k + ε). With one sum of
    gradients, as usual, a task with large gradients decides over v, and so over the step of all.

    Yang, Pan, Wang, Yu, Shen, Chen, Xiao, Jiang & Guo, "AdaTask: A Task-Aware Adaptive Learning
    Rate Approach to Multi-Task Learning", AAAI 2023, Algorithm 1 for Adam. Any optimizer will do
    that steps from gradients: its state of the shared parameters is exchanged task by task. It is
    the twin of alternating updates with one state per group, from one forward pass.

    Scale: as the authors' code: the update is a sum over the tasks, so that the scale of a loss
    does not matter under Adam, and the parameters move up to K times as far as with one step.
    Heads: stepped as usual, by their own gradients, unweighted.
    Memory: one optimizer state of the trunk for each task, in checkpoints too; the K P numbers of
    J, until the step is taken; and a copy of the trunk.
    Deviations: weight decay, which the authors' code lacks, is divided among the tasks of a step.
    Clipping of gradients acts on the sum of the gradients, and so on the heads alone: the moments
    of the tasks see gradients that are not clipped. What a run logs as the gradient is that sum. An
    absent task takes no step, and its moments rest.

    Args:
        common: what every weighting takes, see `Weighting`.

    Example:
        >>> rule = AdaTask()
        >>> rule.combine(torch.ones(2), torch.eye(2))  # what is clipped and logged
        tensor([1., 1.])
    """

    price: ClassVar[str] = "F + H + K B, and K P numbers for each state of the optimizer"

    def __init__(self, **common: Unpack[Common]) -> None:
        super().__init__(**common)
        # By task, as tasks are known by their names in checkpoints.
        self._states: dict[str, States] = {}
        # The gradients of the step that is being taken, by task; none if there is nothing to do.
        self._gradients: dict[str, Float[Tensor, " P"]] = {}
        self._shared: dict[str, Tensor] = {}
        self._before: list[Tensor] = []

    def combine(
        self, losses: Float[Tensor, " K"], jacobian: Float[Tensor, "K P"]
    ) -> Float[Tensor, " P"]:
        """The sum of the gradients; keeps each of them for the steps of the tasks."""
        self._gradients = dict(zip(self.memory.names(len(losses)), jacobian, strict=True))
        return jacobian.sum(0)

    def optimizer_step(self, optimizer: Any, step: Callable[[], Any]) -> None:
        """Step the heads, then the shared parameters for each task. Called in place of a step.

        Raises:
            ValueError: if the optimizer has to evaluate the losses again.
        """
        inner = getattr(optimizer, "optimizer", optimizer)
        if isinstance(inner, LBFGS):
            raise ValueError(
                "`AdaTask` should have an optimizer that steps from gradients. Found `LBFGS`, which"
                " evaluates the losses again in a step. Use `torch.optim.Adam`, say."
            )
        self._gradients = {}
        step()
        gradients, self._gradients = self._gradients, {}
        before, self._before = self._before, []
        if gradients:
            self._take_back(inner, before)
            self._step_tasks(inner, gradients)

    def forget_step(self) -> None:
        """Drop the gradients. Called after a step that a loss scaler has skipped."""
        self._gradients, self._before = {}, []

    def state_dict(self) -> dict[str, Any]:
        """The memory and every task's optimizer states, for a checkpoint."""
        return super().state_dict() | {"optimizer_states": self._states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned. Called when a run resumes."""
        super().load_state_dict(state_dict)
        self._states = dict(state_dict["optimizer_states"])

    def _direction(self, micro_batch: MicroBatch) -> Float[Tensor, " P"]:
        partition = micro_batch.partition
        self._shared = {partition.names[p]: p for p in partition.shared}
        self._before = [parameter.detach().clone() for parameter in partition.shared]
        return super()._direction(micro_batch)

    @torch.no_grad()
    def _take_back(self, optimizer: Optimizer, before: Sequence[Tensor]) -> None:
        """Undo the step of the shared parameters along the sum, which was for the heads."""
        for parameter, value in zip(self._shared.values(), before, strict=True):
            parameter.copy_(value)
            optimizer.state.pop(parameter, None)

    def _step_tasks(self, optimizer: Optimizer, gradients: dict[str, Float[Tensor, " P"]]) -> None:
        """One step of the shared parameters for each task, with its own state."""
        shared = list(self._shared.values())
        with _alone(optimizer, shared), _divided_decay(optimizer, len(gradients)):
            for task, gradient in gradients.items():
                states = self._states.get(task, {})
                for (name, parameter), part in zip(
                    self._shared.items(), views_of(gradient, shared), strict=True
                ):
                    parameter.grad = as_gradient_of(parameter, part)
                    if name in states:
                        optimizer.state[parameter] = _moved(states[name], parameter)
                optimizer.step()
                self._states[task] = states | {
                    name: optimizer.state.pop(parameter)
                    for name, parameter in self._shared.items()
                    if parameter in optimizer.state
                }


@contextmanager
def _alone(optimizer: Optimizer, parameters: Sequence[Tensor]) -> Iterator[None]:
    """Within, no other parameter of the optimizer has a gradient; afterwards all are as before."""
    every = [p for group in optimizer.param_groups for p in group["params"]]
    before = [parameter.grad for parameter in every]
    for parameter in every:
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, gradient in zip(every, before, strict=True):
            parameter.grad = gradient


@contextmanager
def _divided_decay(optimizer: Optimizer, count: int) -> Iterator[None]:
    """Within, weight decay is a part of what it is, for each of `count` steps."""
    groups = [group for group in optimizer.param_groups if "weight_decay" in group]
    before = [group["weight_decay"] for group in groups]
    for group in groups:
        group["weight_decay"] = group["weight_decay"] / count
    try:
        yield
    finally:
        for group, decay in zip(groups, before, strict=True):
            group["weight_decay"] = decay


def _moved(state: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
    """An optimizer's state on the device of its parameter; the count of steps stays where it is."""
    return {
        key: value.to(parameter.device) if isinstance(value, Tensor) and key != "step" else value
        for key, value in state.items()
    }
