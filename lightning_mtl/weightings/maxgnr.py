"""The weighting MaxGNR, by maximal gradient-to-noise ratios."""

import math
from typing import ClassVar, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.checks import check_choice, check_number
from lightning_mtl.engine.gradients import Gradients, accumulation_dtype, real, scaled_by
from lightning_mtl.engine.gradients import gramian as gramian_of
from lightning_mtl.engine.places.channel_sums import ChannelSums
from lightning_mtl.engine.places.place import Place, RowPlace
from lightning_mtl.linalg.gradient_noise import (
    average_overlap,
    gradient_to_noise,
    itgn_ratio,
    nearest_psd,
    signal_gramian,
)
from lightning_mtl.linalg.noise_ratio import Objective, max_noise_ratio
from lightning_mtl.weightings.bases.gramian_weighting import GramianWeighting
from lightning_mtl.weightings.bases.measurement import Measurement, Unpack


class MaxGNR(GramianWeighting):
    r"""Maximises the gradient-to-noise ratio (GNR) of every task.

    Let g_i = m_i + n_i be the task gradients with means m_i. The update is Σ_j w_j g_j; seen from
    task i, w_i m_i is signal and all else is noise: its own minibatch noise w_i n_i and the
    inter-task gradient noise ITGN_i = Σ_{j≠i} w_j g_j. With S_jk = E[g_j · g_k], M_jk = m_j · m_k
    and C = S - M,

        GNR_i(w) = w_i² M_ii / (wᵀ C w + ||Σ_{j≠i} w_j m_j||²),

    and the weights maximise Σ_i log GNR_i(w), or the smallest of them. S is an exponential average
    of the Gramian. M comes from averaged gradients, whose own noise is taken off:
    M = (M_avg - ρ S) / (1 - ρ), ρ = (1 - β₁)(1 + β₁ᵗ) / ((1 + β₁)(1 - β₁ᵗ)) after t steps.

    Fan, Chen, Tian, Ge & Liu, "MaxGNR: A Dynamic Weight Strategy via Maximizing Gradient-to-Noise
    Ratio for Multi-Task Learning", ACCV 2022 (arXiv 2302.09352). What is known of the paper: its
    abstract, which names ITGN, GNR, and "maximizing the GNR of each task", and that moments of past
    gradients approximate the expectations. The formulas above are this project's own formulation:
    the paper's printed ones were not available to it.

    Scale: Σ w = K.
    Heads: their own gradients, unweighted.
    Memory: K averaged gradients, of the size of what is measured. They are saved in checkpoints,
    and reset with S and the warm-up if gradients are measured at other parameters than before.
    Deviations: unknown, because the paper's formulas were not available. The weights are 1 during a
    warm-up, in which the averages have too few terms.

    Args:
        beta1: decay of the averaged gradients.
        beta2: decay of the averaged Gramian.
        objective: what is maximised: "product" of all GNRs, or "min", the smallest one.
        warmup_steps: how many solutions have equal weights, counted for each task; the rarest task
            present decides. By default 1 / (1 - beta2), rounded up.
        measurement: where and how often gradients are measured, see `GramianWeighting`. With
            `gradients="features"` it is the gradient of a bias added to each channel of the shared
            features, since features themselves belong to one batch. With `every_n_steps` the
            averages see only the steps that solve.

    Example:
        >>> rule = MaxGNR(warmup_steps=1)
        >>> for noise in (1.0, -1.0, 1.0, -1.0):  # of the second gradient, along the first one
        ...     gradients = torch.tensor([[1.0, 0.0], [noise, 1.0]])
        ...     rule.brought = rule.observe([[row] for row in gradients], scale=torch.ones(2))
        ...     weights = rule.weights(torch.ones(2), gradients @ gradients.T)
        >>> weights
        tensor([1.5634, 0.4366])
    """

    needs_rows: ClassVar[bool] = True
    places: ClassVar[dict[str, type[Place]]] = GramianWeighting.places | {"features": ChannelSums}

    def __init__(
        self,
        beta1: float = 0.9,
        beta2: float = 0.99,
        objective: Objective = "product",
        warmup_steps: int | None = None,
        **measurement: Unpack[Measurement],
    ) -> None:
        super().__init__(**measurement)
        # Without an average of gradients there is no telling their mean from their noise.
        if not 0 < beta1 < 1:
            raise ValueError(
                f"`MaxGNR(beta1=)` should lie in (0, 1). Found {beta1}. Use one near 1 to average"
                " over many steps."
            )
        if not 0 <= beta2 < 1:
            raise ValueError(
                f"`MaxGNR(beta2=)` should lie in [0, 1). Found {beta2}. Use one near 1 to average"
                " over many steps."
            )
        check_choice(type(self).__name__, "objective", objective, get_args(Objective))
        self.beta1 = beta1
        self.beta2 = beta2
        self.objective: Objective = objective
        if warmup_steps is not None:
            check_number(type(self).__name__, "warmup_steps", warmup_steps, 0)
        # The rounding of 1 - beta2 does not make 11 of 10.
        default = math.ceil(round(1 / (1 - beta2), 6))
        self.warmup_steps = default if warmup_steps is None else warmup_steps
        self._mean = self.memory.per_parameter("mean")
        self._mean_steps = self.memory.per_task("mean_steps", measured=True)
        self._second_moment = self.memory.per_pair("second_moment", measured=True)
        self._second_weight = self.memory.per_pair("second_weight", measured=True)
        self._solved = self.memory.per_task("solved", measured=True)
        self._solution = self.memory.per_task("solution", initial=1.0)
        self._logs: dict[str, Tensor] = {}

    def price_of(self, accumulate: int) -> str:
        """The price of a step of any Gramian rule, with the memory of the averages added."""
        assert isinstance(self.place, RowPlace)
        price = super().price_of(accumulate)
        return f"{price}, and K {self.place.size} numbers of averaged gradients"

    def warm_up(self, steps_per_epoch: float) -> float:
        """The steps of equal weights, in which the averages are filled."""
        return self.warmup_steps * self.every_n_steps

    def observe(self, rows: list[Gradients], scale: Float[Tensor, " K"]) -> Float[Tensor, " n"]:
        """Average the gradients of the tasks present. Called before `weights` at steps that solve.

        Args:
            rows: the gradients times `scale`.
            scale: what to divide them by.

        Returns:
            The K² inner products of the averages.
        """
        parts = [[real(gradient) for gradient in row] for row in rows]
        first = parts[0]
        sizes = [gradient.numel() for gradient in first]
        like = first[0].new_empty((), dtype=accumulation_dtype(first[0]))
        means = self._mean.rows(len(rows), sum(sizes), like)
        shares = ((1 - self.beta1) / scale).to(like)
        for mean, row, share in zip(means, parts, shares.unbind(), strict=True):
            # In place and piece by piece: this is as large as the trunk, for every task.
            pieces = list(mean.split(sizes))
            new = [gradient.flatten().to(mean.dtype) for gradient in row]
            torch._foreach_mul_(pieces, self.beta1)
            torch._foreach_add_(pieces, scaled_by(new, share))
        steps = torch.zeros(len(rows), dtype=torch.float64)
        self._mean_steps.write(self._mean_steps.read(steps) + 1)
        return gramian_of([[mean] for mean in means]).flatten()

    def weights(
        self, losses: Float[Tensor, " K"], gramian: Float[Tensor, "K K"]
    ) -> Float[Tensor, " K"]:
        """The weights that maximise the objective; 1 in the warm-up. Called after `observe`."""
        second_moment = self._average(gramian.double())
        steps = self._solved.read(losses) + 1
        self._solved.write(steps)
        start = self._solution.read(losses.double()).to(second_moment)
        signal, covariance = self.moments(second_moment)
        weights = torch.ones_like(start)
        if float(steps.min()) > self.warmup_steps:
            weights = max_noise_ratio(signal, covariance, start, self.objective)
            self._solution.write(weights)
        self._record(weights, signal, covariance, gramian.double())
        return weights.to(gramian)

    def moments(
        self, second_moment: Float[Tensor, "K K"]
    ) -> tuple[Float[Tensor, "K K"], Float[Tensor, "K K"]]:
        """The signal M and the covariance C of the tasks present, without negative eigenvalues.

        Args:
            second_moment: S.
        """
        tasks = len(second_moment)
        steps = self._mean_steps.read(second_moment.diagonal())
        # Bias-corrected: an average that started at zero holds 1 - beta^t of the weight.
        correction = 1 - self.beta1**steps
        average = self.brought.view(tasks, tasks).to(correction)
        average = average / torch.outer(correction, correction)
        overlap = average_overlap(self.beta1, torch.minimum(steps[:, None], steps))
        # After one step the average is that step, and nothing can be told apart yet.
        overlap = torch.as_tensor(overlap).clamp(max=1 - 1e-3)
        # In units of each task's own power: the rounding of a strong one would be the signal of a
        # weak one. One without a gradient stays at exactly zero.
        size = second_moment.diagonal().clamp(min=0).sqrt()
        unit = torch.where(size > 0, size, torch.inf)
        moment = second_moment / unit[:, None] / unit
        average = average / unit[:, None] / unit
        signal = nearest_psd(signal_gramian(average, moment, overlap))
        covariance = nearest_psd(moment - signal)
        return signal * size[:, None] * size, covariance * size[:, None] * size

    def logs(self) -> dict[str, Tensor]:
        """The GNR and the ratio of ITGN to gradient of every task present. Called for the logs."""
        return self._logs

    def _average(self, gramian: Float[Tensor, "K K"]) -> Float[Tensor, "K K"]:
        """The second moment S, averaged over the steps that had both tasks of a pair."""
        moment = self._second_moment.read(gramian)
        weight = self._second_weight.read(gramian)
        moment = self.beta2 * moment + (1 - self.beta2) * gramian
        weight = self.beta2 * weight + (1 - self.beta2)
        self._second_moment.write(moment)
        self._second_weight.write(weight)
        return moment / weight

    def _record(self, weights: Tensor, signal: Tensor, covariance: Tensor, gramian: Tensor) -> None:
        ratio = gradient_to_noise(weights, signal, covariance)
        itgn = itgn_ratio(gramian, weights)
        self._logs = {}
        for index, task in enumerate(self.memory.names(len(weights))):
            self._logs[f"gnr/{task}"] = ratio[index]
            self._logs[f"itgn/{task}"] = itgn[index]
