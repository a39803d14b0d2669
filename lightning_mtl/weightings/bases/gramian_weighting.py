"""The base of the weightings that need no more of the task gradients than their inner products."""

from abc import abstractmethod
from typing import ClassVar, Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Parameter

from lightning_mtl.distributed import world_size
from lightning_mtl.engine.gradients import Gradients, gramian
from lightning_mtl.engine.micro_batch import Step
from lightning_mtl.engine.places import add_part, measure, measure_feature_sums, measure_features
from lightning_mtl.engine.task_backward import TaskBackward
from lightning_mtl.weightings.bases.answers import check_finite_weights, check_weights
from lightning_mtl.weightings.bases.gradient_weighting import GradientWeighting
from lightning_mtl.weightings.memory.weight_cache import KeptWeights

Place = Literal["shared", "last_layer", "features"]

PRICES: dict[Place, str] = {
    "shared": "F + H + K B",
    "last_layer": "F + H + B + K B_last",
    "features": "F + H + B",
}
"""Of a step that solves."""

EXTRA: dict[Place, str] = {"shared": "(K - 1) B", "last_layer": "K B_last", "features": ""}
"""What that is more than F + H + B, which a step costs that keeps the weights."""


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
            representation (the upper bound of Sener & Koltun, NeurIPS 2018). The last two cost
            about as much as equal weighting; with gradient accumulation they too need K passes,
            because the weights are known only at the end of the window.
        every_n_steps: solve at every n-th optimizer step, and where other tasks are present than
            at the last solution; keep the weights in between. With gradient accumulation, once a
            task has been absent from a micro-batch, steps that keep the weights need K passes too.
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
        if self.cross_parts and gradients == "features":
            raise ValueError(
                f"`{name}` needs products of gradients of different parts of a batch. Found"
                ' `gradients="features"`, where every sample has a gradient of its own, so that'
                ' there is nothing to multiply. Use `"shared"` or `"last_layer"`.'
            )
        self.gradients = gradients
        self.every_n_steps = every_n_steps
        self._last = KeptWeights(self.state, every_n_steps)
        self.layer = layer
        self.weight_heads = weight_heads

    cross_parts: ClassVar[bool] = False
    """Whether G is to be the mean of J_r J_sᵀ over different parts of the data, ranks and
    micro-batches, where there are several: unbiased by noise, but not positive semi-definite. Not
    with `gradients="features"`."""

    needs_rows: ClassVar[bool] = False
    """Whether `observe` wants the gradients themselves, beside their inner products."""

    @property
    def price(self) -> str:  # type: ignore[override]
        """By where the gradients are measured, and how often."""
        return self.price_of(1)

    def price_of(self, accumulate: int) -> str:
        """As of `"shared"`, where the weights come after the last of several batches."""
        place = self.gradients if accumulate == 1 else "shared"
        if self.every_n_steps == 1:
            return PRICES[place]
        extra = EXTRA[place]
        return f"F + H + B + {extra} / {self.every_n_steps}" if extra else PRICES[place]

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
            self._last.count()

    def _balance(self, step: Step, backward: TaskBackward) -> None:
        if step.window.keeps is None:
            step.window.keeps = self._keeps(step)
        if step.window.keeps:
            step.descend(backward, self._last.read(step.present), self.weight_heads)
            if step.last:
                self._note_kept(step)
        elif step.alone and self.gradients != "shared":
            self._measure(step, backward)
            weights = self._solve(step, *self._measured(step)).weights
            step.descend(backward, weights, self.weight_heads)
            step.note(step.present, weights)
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
        """Solve for the window, unless its weights are kept, and write its gradients."""
        rows = step.window.reduce()
        tasks = step.window.tasks
        if self._last.hold(tasks):
            solution = Solution(self._last.read(tasks), step.window.counts.cpu())
        elif self.gradients == "features":
            solution = self._solve(step, *self._measured(step))
        else:
            seen = self._at_place(step, rows)
            solution = self._solve(step, self._across(step, gramian(seen)), seen)
        step.release(rows, solution.weights.tolist(), solution.counts, self.weight_heads)
        step.note(tasks, solution.weights)

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
        self._last.see(counts / (step.window.length * world_size()))
        finite = bool(torch.isfinite(normalised).all())
        if not self._finite(step, normalised.diagonal(), finite):
            return Solution(torch.ones_like(losses), counts)
        if self.needs_rows:
            self._begin_anew_elsewhere(step, rows)
            self.observe(rows, scale)
        # In the dtype that it was summed in: a rule has to tell a small angle from rounding.
        weights = self.weights(losses, normalised.to(measured.dtype))
        name = f"{type(self).__name__}.weights"
        check_weights(name, weights, len(losses))
        check_finite_weights(name, weights)
        weights = weights.double()
        self._last.write(step.window.tasks, weights)
        return Solution(weights, counts)

    def _begin_anew_elsewhere(self, step: Step, rows: list[Gradients]) -> None:
        if self.gradients == "features":
            place = [f"features {tuple(part.shape)}" for part in rows[0]]
            self.state.measure_at(place, self.measured)
        elif self.gradients == "last_layer":
            self._measured_at(step, step.partition.layer(self.layer))
        else:
            self._measured_at(step, step.partition.shared)

    def _keeps(self, step: Step) -> bool:
        """Whether the kept weights are applied to each micro-batch of this window as it comes.

        Not if its micro-batches may have different tasks: a task's mean runs over those that have
        it, and how many these are is known at the end only.
        """
        return self._last.hold(step.present) and (step.alone or not self._last.uneven)

    def _note_kept(self, step: Step) -> None:
        """Note the kept weights as they were applied.

        Where, for the first time, a task is missing in the midst of a window, what was applied is
        the sum over the micro-batches that have it.
        """
        window = step.window
        shares = torch.tensor([window.batches[task] / window.length for task in window.tasks])
        step.note(window.tasks, self._last.read(window.tasks) * shares.double())
        self._last.see(shares)


def _columns(
    rows: list[Gradients], shared: list[Parameter], layer: list[Parameter]
) -> list[Gradients]:
    place = {parameter: index for index, parameter in enumerate(shared)}
    return [[row[place[parameter]] for parameter in layer] for row in rows]
