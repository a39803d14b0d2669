"""The weighting FairGrad, by α-fair resource allocation."""

import math
from typing import ClassVar

import lightning as L
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.linalg import fair_weights
from lightning_mtl.weightings.bases.gramian_weighting import GramianWeighting
from lightning_mtl.weightings.bases.loss_shares import softmax_shares
from lightning_mtl.weightings.bases.measurement import Measurement, Unpack
from lightning_mtl.weightings.memory.constants import Constants
from lightning_mtl.weightings.memory.running_mean import RunningMean

LARGEST_RATIO = 2.0
"""Of two priorities."""

LEAST_TEMPERATURE = 10.0
"""Of the softmax of the priorities, in percent: smaller differences count for less."""


class FairGrad(GramianWeighting):
    r"""Fair resource allocation: the update whose progress is divided α-fairly among the tasks.

    d = wᵀJ maximises Σ (g_i·d)^{1-α} / (1-α) over a ball; w > 0 solves G w = w^{-1/α}. α → 0 is the
    mean, α = 1 proportional fairness, large α favours the task that progresses least. Solved to
    rounding by Newton's method.

    Ban & Ji, "Fair Resource Allocation in Multi-Task Learning", ICML 2024, eq. 4, Algorithm 1.

    With `priorities`, tasks that are farther behind single-task training count more: w solves
    G w = (ω / w)^{1/α}, ω = K softmax(s / τ), with s_k = 100 (L_k / b_k - 1) the mean loss of the
    last epoch in percent above the single-task loss b_k, and τ = max((max s - min s) / log 2, 10):
    no ω is more than twice another one.

    Qin, Wang & Yan, "Revisiting Fairness in Multitask Learning: A Performance-Driven Approach for
    Variance Reduction", CVPR 2025 (PIVRG), there with α = 2.

    Scale: as that equation and TorchJD have it. The authors' code multiplies by K and clips ||d||
    to 1. For α = 1, without `priorities`, a `prior` cancels on the shared parameters.
    Heads: their own gradients, unweighted, as in the authors' code; LibMTL weights them
    (`weight_heads`).
    Deviations: where gradients are (nearly) opposed there is no finite solution: the smallest
    eigenvalue of the matrix of cosines is lifted to 1e-8, which `train/lifted_steps` counts. A zero
    gradient has weight 1 and is otherwise removed. PIVRG's s are those of evaluation metrics, and
    its authors' code multiplies by K and clips ||d|| to 1 too. ω = 1 in the first epoch.

    Args:
        alpha: α > 0; 2 in the paper's NYUv2 runs.
        priorities: b, the loss that each task reaches when it is trained alone, without a `prior`,
            by the names of the tasks; one that is not named has ω = 1. By default all have.
        measurement: where and how often gradients are measured, see `GramianWeighting`.

    Example:
        >>> import torch
        >>> FairGrad(alpha=1.0).weights(torch.ones(2), torch.diag(torch.tensor([1.0, 4.0])))
        tensor([1.0000, 0.5000])
    """

    most_on_device: ClassVar[int] = 8

    def __init__(
        self,
        alpha: float = 1.0,
        priorities: dict[str, float] | None = None,
        **measurement: Unpack[Measurement],
    ) -> None:
        super().__init__(**measurement)
        if alpha <= 0:
            raise ValueError(
                f"`FairGrad(alpha=)` should be positive. Found {alpha}. Use a small one for"
                " nearly the mean gradient, its limit at 0."
            )
        if priorities is not None and not all(0 < loss < math.inf for loss in priorities.values()):
            raise ValueError(
                "`FairGrad(priorities=)` should be positive, the single-task losses of the tasks."
                f" Found {priorities}. Leave out a task that has none."
            )
        self.alpha = alpha
        self.priorities = priorities
        self._lifted_steps = self.memory.single("lifted_steps")
        mean, steps = self.memory.per_task("mean"), self.memory.per_task("steps")
        self._epoch = RunningMean(mean, steps)
        self._last = self.memory.per_task("last", initial=math.nan)
        self._constants = Constants()

    def weights(
        self, losses: Float[Tensor, " K"], gramian: Float[Tensor, "K K"]
    ) -> Float[Tensor, " K"]:
        """The α-fair weights: the positive solution of G w = (ω / w)^{1/α}."""
        shares = None
        if self.priorities is not None:
            shares = self._shares(losses).to(gramian)
            self._epoch.add(losses)
        weights, lifted = fair_weights(gramian, self.alpha, shares)
        self._lifted_steps.count(lifted)
        return weights

    def end_epoch(self) -> None:
        """Set the priorities by the mean losses of this epoch, over its steps that solve."""
        means, steps = self._epoch.mean.values, self._epoch.count.values
        if means is None or steps is None:
            return
        self._last.write(torch.where(steps > 0, means, self._last.read(means)))
        self._epoch.mean.forget()
        self._epoch.count.forget()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Set the priorities. Called by the Trainer at the end of each training epoch."""
        self.end_epoch()

    def _shares(self, losses: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """The priorities ω; 1 for a task without a single-task loss, or a mean of its own."""
        assert self.priorities is not None
        unknown = set(self.priorities) - set(self.tasks)
        if self.tasks and unknown:
            raise ValueError(
                f"`FairGrad(priorities=)` should name tasks among {self.tasks}. Found"
                f" {sorted(unknown)}. Correct the names, or those of the tasks."
            )
        names = self.memory.names(len(losses))
        given = self.in_prior_units(self.priorities)
        alone = self._constants.like([given.get(n, math.nan) for n in names], losses)
        excess = 100 * (self._last.read(losses) / alone - 1)
        known = ~torch.isnan(excess)
        highest = torch.where(known, excess, -torch.inf).amax()
        spread = highest - torch.where(known, excess, torch.inf).amin()
        temperature = (spread / math.log(LARGEST_RATIO)).clamp(min=LEAST_TEMPERATURE)
        return softmax_shares(excess / temperature, known) + (~known).to(excess)

    def logs(self) -> dict[str, Tensor]:
        """The number of steps so far that had no solution, so that an eigenvalue was lifted."""
        return self._lifted_steps.logs()
