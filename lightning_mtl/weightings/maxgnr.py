"""MaxGNR."""

import math
from typing import ClassVar, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.engine.gradients import Gradients, wide
from lightning_mtl.engine.gradients import gramian as gramian_of
from lightning_mtl.linalg.gradient_noise import (
    average_overlap,
    gradient_to_noise,
    itgn_ratio,
    nearest_psd,
    signal_gramian,
)
from lightning_mtl.linalg.noise_ratio import Objective, max_noise_ratio
from lightning_mtl.weightings.bases.gramian_weighting import GramianWeighting, Place


class MaxGNR(GramianWeighting):
    r"""Maximises the gradient-to-noise ratio (GNR) of every task.

    Let g_i = m_i + n_i be the task gradients with means m_i. The update is Σ_j w_j g_j; seen from
    task i, w_i m_i is signal and all else is noise: its own minibatch noise w_i n_i and the
    inter-task gradient noise ITGN_i = Σ_{j≠i} w_j g_j. With S_jk = E[g_j · g_k], M_jk = m_j · m_k
    and C = S - M,

        GNR_i(w) = w_i² M_ii / (wᵀ C w + ||Σ_{j≠i} w_j m_j||²),

    and the weights maximise Σ_i log GNR_i(w), or the smallest of them. S is an exponential average
    of the Gramian. M comes from averaged gradients, whose own noise is taken off:
    M = (M_avg - ρ S) / (1 - ρ), ρ = (1 - β₁)(1 + β₁ᵗ) / ((1 + β₁)(1 - β₁ᵗ)).

    Fan, Chen, Tian, Ge & Liu, "MaxGNR: A Dynamic Weight Strategy via Maximizing Gradient-to-Noise
    Ratio for Multi-Task Learning", ACCV 2022 (arXiv 2302.09352). What is known of the paper: its
    abstract, which names ITGN, GNR, and "maximizing the GNR of each task", and that moments of past
    gradients approximate the expectations. The formulas above are this project's own formulation:
    the paper's printed ones were not available to it.

    Scale: Σ w = K. Heads: their own gradients, unweighted.
    Cost: F + H + K B, and K P numbers of averaged gradients. They are in every checkpoint too, and
    begin anew, with S and the warm-up, when they are measured at other parameters than before.
    Their inner products are a second copy of (K, K) numbers to the host in each step that solves.
    Deviations: unknown, as the paper's formulas are. Weights are 1 in a warm-up, until the averages
    mean something.

    Args:
        beta1: decay of the averaged gradients.
        beta2: decay of the averaged Gramian.
        objective: "product": every task's GNR counts in proportion; "min": the worst one only.
        gradients: see `GramianWeighting`; with "features" the gradient of a bias added to each
            channel of the shared features, since features themselves belong to one batch.
        warmup_steps: optimizer steps with equal weights; by default 1 / (1 - beta2), when the
            averages begin to mean something.
        every_n_steps: see `GramianWeighting`; the averages see only the steps that solve.
        layer: see `GramianWeighting`.
        weight_heads: see `GramianWeighting`.
    """

    needs_rows: ClassVar[bool] = True
    measured: ClassVar[tuple[str, ...]] = (
        "mean",
        "mean_steps",
        "second_moment",
        "second_weight",
        "solved",
    )

    def __init__(
        self,
        beta1: float = 0.9,
        beta2: float = 0.99,
        objective: Objective = "product",
        gradients: Place = "shared",
        warmup_steps: int | None = None,
        every_n_steps: int = 1,
        layer: str | None = None,
        weight_heads: bool = False,
    ) -> None:
        super().__init__(gradients, every_n_steps, layer, weight_heads)
        # Without an average of gradients there is no telling their mean from their noise.
        if not 0 < beta1 < 1:
            raise ValueError(f"`MaxGNR(beta1=)` should lie in (0, 1). Found {beta1}.")
        if not 0 <= beta2 < 1:
            raise ValueError(f"`MaxGNR(beta2=)` should lie in [0, 1). Found {beta2}.")
        if objective not in get_args(Objective):
            raise ValueError(
                f"`MaxGNR(objective=)` should be one of {get_args(Objective)}. Found {objective!r}."
            )
        self.beta1 = beta1
        self.beta2 = beta2
        self.objective: Objective = objective
        self.warmup_steps = math.ceil(1 / (1 - beta2)) if warmup_steps is None else warmup_steps
        self._logs: dict[str, Tensor] = {}

    def price_of(self, accumulate: int) -> str:
        """As every Gramian rule; the averages take memory."""
        size = {"shared": "K P", "last_layer": "K P_last", "features": "K C"}[self.gradients]
        return f"{super().price_of(accumulate)}, and {size} numbers of averaged gradients"

    def observe(self, rows: list[Gradients], scale: Float[Tensor, " K"]) -> None:
        """Average the gradients of the tasks present.

        Args:
            rows: the gradients times `scale`.
            scale: on the host.
        """
        tensors = self.state.tensors
        present = range(len(rows)) if self.state.present is None else self.state.present
        tasks = len(self.state.tasks) or len(rows)
        first = rows[0]
        sizes = [part.numel() for part in first]
        if "mean" not in tensors:
            dtype = wide(first[0])
            tensors["mean"] = torch.zeros(tasks, sum(sizes), dtype=dtype, device=first[0].device)
            tensors["mean_steps"] = torch.zeros(tasks, dtype=torch.float64)
        mean = tensors["mean"] = tensors["mean"].to(first[0].device)
        steps = tensors["mean_steps"] = tensors["mean_steps"].clone()
        for row, divisor, task in zip(rows, scale.tolist(), present, strict=True):
            # In place and part by part: this is as large as the trunk, for every task.
            kept = list(mean[task].split(sizes))
            new = [part.flatten().to(mean.dtype) for part in row]
            torch._foreach_mul_(kept, self.beta1)
            torch._foreach_add_(kept, new, alpha=(1 - self.beta1) / divisor)
            steps[task] += 1

    def weights(
        self, losses: Float[Tensor, " K"], gramian: Float[Tensor, "K K"]
    ) -> Float[Tensor, " K"]:
        """The argmax over w; `observe` has seen the gradients of the same step."""
        second_moment = self._average(gramian.double())
        steps = self.state.read("solved", losses) + 1
        self.state.write("solved", steps)
        start = self.state.read("solution", losses.double(), 1.0).to(second_moment)
        signal, covariance = self.moments(second_moment)
        weights = torch.ones_like(start)
        if float(steps.min()) > self.warmup_steps:
            weights = max_noise_ratio(signal, covariance, start, self.objective)
            self.state.write("solution", weights)
        self._note(weights, signal, covariance, gramian.double())
        return weights.to(gramian)

    def moments(
        self, second_moment: Float[Tensor, "K K"]
    ) -> tuple[Float[Tensor, "K K"], Float[Tensor, "K K"]]:
        """M and C of the tasks present, without negative eigenvalues.

        Args:
            second_moment: S.
        """
        tensors = self.state.tensors
        present = self._present(len(second_moment))
        # Bias-corrected: an average that started at zero holds 1 - beta^t of the weight.
        filled = 1 - self.beta1 ** tensors["mean_steps"][present]
        rows = [[tensors["mean"][task]] for task in present]
        average = gramian_of(rows).to("cpu").double() / torch.outer(filled, filled)
        steps = tensors["mean_steps"][present]
        overlap = average_overlap(self.beta1, torch.minimum(steps[:, None], steps))
        # After one step the average is that step, and nothing can be told apart yet.
        overlap = torch.as_tensor(overlap).clamp(max=1 - 1e-3)
        signal = nearest_psd(signal_gramian(average, second_moment, overlap))
        return signal, nearest_psd(second_moment - signal)

    def logs(self) -> dict[str, Tensor]:
        """GNR and the ratio of ITGN to gradient, of every task present."""
        return self._logs

    def _average(self, gramian: Float[Tensor, "K K"]) -> Float[Tensor, "K K"]:
        """S: the average over the steps in which both tasks of a pair were present."""
        tensors = self.state.tensors
        tasks = len(self.state.tasks) or len(gramian)
        present = torch.tensor(self._present(len(gramian)))
        pair = (present[:, None], present)
        for name in ("second_moment", "second_weight"):
            tensors[name] = tensors.get(name, gramian.new_zeros(tasks, tasks)).clone()
        moment, weight = tensors["second_moment"], tensors["second_weight"]
        moment[pair] = self.beta2 * moment[pair] + (1 - self.beta2) * gramian
        weight[pair] = self.beta2 * weight[pair] + (1 - self.beta2)
        return moment[pair] / weight[pair]

    def _present(self, tasks: int) -> list[int]:
        return list(range(tasks) if self.state.present is None else self.state.present)

    def _note(self, weights: Tensor, signal: Tensor, covariance: Tensor, gramian: Tensor) -> None:
        ratio = gradient_to_noise(weights, signal, covariance)
        itgn = itgn_ratio(gramian, weights)
        names = self.tasks or tuple(str(index) for index in range(len(weights)))
        self._logs = {}
        for index, task in enumerate(self._present(len(weights))):
            self._logs[f"gnr/{names[task]}"] = ratio[index]
            self._logs[f"itgn/{names[task]}"] = itgn[index]
