"""The base of the weightings that need no more of the task gradients than their inner products."""

from abc import abstractmethod
from typing import ClassVar, Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Parameter

from lightning_mtl.callbacks.gradient_weighting import GradientWeighting
from lightning_mtl.gradients import Gradients, gramian
from lightning_mtl.measure import add_part, measure, measure_feature_sums, measure_features
from lightning_mtl.step import Step
from lightning_mtl.task_backward import TaskBackward

Place = Literal["shared", "last_layer", "features"]


class Solution(NamedTuple):
    """Weights, and in how many micro-batches each task was present; on the host."""

    weights: Float[Tensor, " k"]
    counts: Float[Tensor, " k"]


class GramianWeighting(GradientWeighting):
    """A weighting that needs the Gramian of the task gradients, G = J Jᵀ.

    The shared parameters receive w @ J. Each head receives its own gradient, unweighted unless
    `weight_heads`.

    Args:
        gradients: where G is measured. `"shared"`: at all shared parameters, exact, K trunk
            backward passes. `"last_layer"`: at the last shared layer. `"features"`: at the shared
            representation (MGDA-UB of Sener & Koltun, NeurIPS 2018). The last two cost about as
            much as equal weighting; with gradient accumulation they too need K passes, because the
            weights are known only at the end of the window.
        every_n_steps: solve at every n-th optimizer step and keep the weights in between.
        layer: name of the shared layer for `"last_layer"`; by default the last one.
        weight_heads: whether the gradients of the heads are weighted too.
    """

    def __init__(
        self,
        gradients: Place = "shared",
        every_n_steps: int = 1,
        layer: str | None = None,
        weight_heads: bool = False,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if gradients not in get_args(Place):
            raise ValueError(
                f"`{name}(gradients=)` should be one of {get_args(Place)}. Found {gradients!r}."
            )
        if every_n_steps < 1:
            raise ValueError(
                f"`{name}(every_n_steps=)` should be at least 1. Found {every_n_steps}."
            )
        self.gradients = gradients
        self.every_n_steps = every_n_steps
        self.layer = layer
        self.weight_heads = weight_heads

    cross_parts: ClassVar[bool] = False
    """Whether G is to be the mean of J_r J_sᵀ over different parts of the data, ranks and
    micro-batches, where there are several: unbiased by noise, but not positive semi-definite."""

    needs_rows: ClassVar[bool] = False
    """Whether `observe` wants the gradients themselves, beside their inner products."""

    @property
    def price(self) -> str:  # type: ignore[override]
        """By where the gradients are measured, and how often."""
        extra = {"shared": "(K - 1) B", "last_layer": "K B_last", "features": "0"}[self.gradients]
        often = "" if self.every_n_steps == 1 else f" / {self.every_n_steps}"
        return f"F + H + B + {extra}{often}"

    @abstractmethod
    def weights(
        self, losses: Float[Tensor, " K"], gramian: Float[Tensor, "K K"]
    ) -> Float[Tensor, " K"]:
        """The weights of this optimizer step.

        Args:
            losses: of the tasks present, means over micro-batches and ranks.
            gramian: the inner products of their gradients; finite. In training both are on the
                host, the losses in float64 and the Gramian in the dtype that it was summed in.
        """

    def observe(self, rows: list[Gradients], scale: Float[Tensor, " K"]) -> None:
        """Look at the measured gradients, before `weights`; only with `needs_rows`.

        Args:
            rows: of the tasks present, times `scale`.
            scale: what to divide them by, on the host.
        """

    def backward(self, step: Step, loss: Tensor) -> None:
        """Measure G, solve, combine; or apply the weights that are kept."""
        backward = step.differentiate_shared(loss)
        if backward is not None:
            self._balance(step, backward)
        if step.last:
            self._count()

    def _balance(self, step: Step, backward: TaskBackward) -> None:
        if not self._due():
            self.state.present = step.present
            like = torch.ones(len(step.present), dtype=torch.float64)
            self._descend(step, backward, self.state.read("kept", like, 1.0))
        elif step.alone and self.gradients != "shared":
            self._measure(step, backward)
            self._descend(step, backward, self._solve(step, *self._measured(step)).weights)
        else:
            if self.gradients == "features":
                self._measure(step, backward)
            rows = backward.rows(step.partition.shared) if self.cross_parts else None
            step.collect(backward, rows)
            if rows is not None:
                add_part(step, self._at_place(step, rows))
            if step.last:
                self._release(step)

    def _measure(self, step: Step, backward: TaskBackward) -> None:
        """Add the gradients of one micro-batch to the window, without the full rows."""
        if self.gradients == "last_layer":
            rows = measure(step, backward, step.partition.layer(self.layer))
            if self.cross_parts:
                add_part(step, rows)
        elif self.needs_rows:
            measure_feature_sums(step, backward)
        else:
            measure_features(step, backward)

    def _measured(self, step: Step) -> tuple[Tensor, list[Gradients]]:
        """G of what `_measure` has added up, and the rows that it is made of, if any."""
        if self.gradients == "features" and not self.needs_rows:
            return step.window.reduce_features(), []
        rows = step.window.reduce_measured()
        return self._across(step, gramian(rows)), rows

    def _release(self, step: Step) -> None:
        """Solve for the window, and write its gradients."""
        rows = step.window.reduce()
        if self.gradients == "features":
            measured, seen = self._measured(step)
        else:
            seen = self._at_place(step, rows)
            measured = self._across(step, gramian(seen))
        solution = self._solve(step, measured, seen)
        step.release(rows, solution.weights.tolist(), solution.counts, self.weight_heads)
        step.note(step.window.tasks, solution.weights)

    def _at_place(self, step: Step, rows: list[Gradients]) -> list[Gradients]:
        """The part of full rows where G is measured."""
        if self.gradients == "shared":
            return rows
        return _columns(rows, step.partition.shared, step.partition.layer(self.layer))

    def _across(self, step: Step, measured: Tensor) -> Tensor:
        return step.window.across_parts(measured) if self.cross_parts else measured

    def _solve(self, step: Step, measured: Tensor, rows: list[Gradients]) -> Solution:
        """The rule's weights; equal ones where a loss scale has overflown, which skips the step."""
        losses, normalised, counts, scale = step.window.host_statistics(measured)
        self.state.present = step.window.tasks
        finite = bool(torch.isfinite(normalised).all())
        if not self._finite(step, normalised.diagonal(), finite):
            return Solution(torch.ones_like(losses), counts)
        if self.needs_rows:
            self.observe(rows, scale)
        # In the dtype that it was summed in: a rule has to tell a small angle from rounding.
        weights = self.weights(losses, normalised.to(measured.dtype)).double()
        self.state.read("kept", weights, 1.0)
        self.state.write("kept", weights)
        return Solution(weights, counts)

    def _descend(self, step: Step, backward: TaskBackward, weights: Float[Tensor, " k"]) -> None:
        step.descend(backward, weights, self.weight_heads)
        step.note(step.present, weights)

    def _due(self) -> bool:
        """Whether this optimizer step solves; the same for all of its micro-batches."""
        steps = self.state.tensors.get("steps")
        return steps is None or int(steps) % self.every_n_steps == 0

    def _count(self) -> None:
        steps = self.state.tensors.get("steps", torch.tensor(0))
        self.state.tensors["steps"] = steps + 1


def _columns(
    rows: list[Gradients], shared: list[Parameter], layer: list[Parameter]
) -> list[Gradients]:
    place = {parameter: index for index, parameter in enumerate(shared)}
    return [[row[place[parameter]] for parameter in layer] for row in rows]
