"""The weighting GradNorm, by gradient normalisation."""

import math
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.engine.gradients import norms
from lightning_mtl.engine.micro_batch import MicroBatch
from lightning_mtl.engine.places.shared_layer import SharedLayer
from lightning_mtl.weightings.bases.common import Common, Unpack
from lightning_mtl.weightings.bases.weighting import Weighting
from lightning_mtl.weightings.memory.adam import Adam
from lightning_mtl.weightings.memory.constants import Constants

SMALLEST = 1e-3
"""Weights are kept at least this large; smaller than one Adam step, larger than rounding."""


class GradNorm(Weighting):
    r"""Gradient normalisation: learned weights that balance gradient norms and training rates.

    With n_k = ||∇_W L_k|| at the last shared layer W, G_k = w_k n_k, the mean Ḡ, and the relative
    inverse training rate r_k = (L_k / L_k(0)) / mean, the weights descend Σ_k |G_k - Ḡ r_k^α|,
    whose targets Ḡ r_k^α are constants: ∂/∂w_k = sign(G_k - Ḡ r_k^α) n_k. No double backward pass
    is needed. Then Σ w = K again. A slow task (large r) has a larger target.

    Chen, Badrinarayanan, Lee & Rabinovich, "GradNorm: Gradient Normalization for Adaptive Loss
    Balancing in Deep Multitask Networks", ICML 2018, eq. 1 and 2, Algorithm 1. The step of the
    network uses w(t), that of the weights gives w(t+1).

    Scale: Σ w = K, as in the paper.
    Heads: weighted, as in the paper.
    Deviations: weights are clamped at 1e-3 before they are renormalised; the paper's own rule turns
    them negative when losses differ by 100x, and then ascends that task. Gradient accumulation and
    ranks: norms are those of the averaged gradient; the weights move once per optimizer step.

    Args:
        alpha: strength of the pull to common training rates; 1.5 in the paper's NYUv2 runs.
        lr: learning rate of the weights' Adam; 0.025 in the paper's NYUv2 runs.
        layer: name of W, a shared submodule or parameter; by default the last shared layer.
        initial_loss: L_k(0). `"first"`: of the first step in which the task is present;
            `"theoretical"`: the numbers in `theoretical_losses`, such as log(C) for C classes.
        theoretical_losses: by the names of the tasks, without a `prior`.
        common: what every weighting takes, see `Weighting`.

    Example:
        >>> rule = GradNorm()
        >>> rule.update(losses=torch.ones(2), norms=torch.tensor([1.0, 3.0]))
        >>> rule.weights(torch.ones(2))
        tensor([1.0250, 0.9750])
    """

    price: ClassVar[str] = "F + H + B + K B_last"
    positive_losses: ClassVar[bool] = True

    def __init__(
        self,
        alpha: float = 1.5,
        lr: float = 0.025,
        layer: str | None = None,
        initial_loss: Literal["first", "theoretical"] = "first",
        theoretical_losses: dict[str, float] | None = None,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(**common)
        if (initial_loss == "theoretical") != (theoretical_losses is not None):
            raise ValueError(
                '`GradNorm(initial_loss="theoretical")` should go with `theoretical_losses`, a dict'
                f" of positive numbers by task. Found initial_loss={initial_loss!r} and"
                f" theoretical_losses={theoretical_losses}. Give both, or neither."
            )
        self.alpha = alpha
        self.lr = lr
        self.layer = layer
        self.initial_loss = initial_loss
        self.theoretical_losses = theoretical_losses
        self.place = SharedLayer(layer)
        self._weights = self.memory.per_task("weights", initial=1.0)
        self._first = self.memory.per_task("initial", initial=math.nan)
        self._adam = Adam(self.memory)
        self._constants = Constants()

    def weights(self, losses: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """The weights w(t), rescaled to sum to the number of tasks present."""
        weights = self._weights.read(losses)
        return weights * (len(weights) / weights.sum())

    def update(self, losses: Float[Tensor, " K"], norms: Float[Tensor, " K"]) -> None:
        """Move the weights to w(t+1). Called once per optimizer step.

        Args:
            losses: L_k(t).
            norms: n_k, the norms of the unweighted task gradients at W.
        """
        weights = self.weights(losses)
        gradient = self.gradient(weights, losses, norms)
        # A loss scale that overflows makes norms infinite; the network skips such a step too.
        gradient = torch.where(torch.isfinite(gradient).all(), gradient, torch.zeros_like(gradient))
        moved = (weights - self._adam.step(gradient, self.lr)).clamp(min=SMALLEST)
        self._weights.write(moved * (len(moved) / moved.sum()))

    def gradient(
        self,
        weights: Float[Tensor, " K"],
        losses: Float[Tensor, " K"],
        norms: Float[Tensor, " K"],
    ) -> Float[Tensor, " K"]:
        """The gradient of Σ_k |G_k - Ḡ r_k^α| in w, with constant targets Ḡ r_k^α."""
        # In logarithms and in units of the largest norm: neither leaves the range of the dtype.
        ratio = losses.log() - self._initial(losses).log()
        ratio = torch.where(torch.isnan(ratio), torch.zeros_like(ratio), ratio)
        rate = len(ratio) * torch.softmax(ratio, 0)
        weighted = weights.abs() * (norms / norms.max().clamp(min=torch.finfo(norms.dtype).tiny))
        target = weighted.mean() * rate.pow(self.alpha)
        return (weighted - target).sign() * norms * weights.sign()

    def begin_window(self) -> None:
        """Forget the norms of the window before. Called as each optimizer step begins."""
        self.place.begin()

    def total(self, micro_batch: MicroBatch) -> Tensor:
        """The sum of the losses; the weights are applied at the cut between heads and trunk."""
        return micro_batch.total()

    def backward(self, micro_batch: MicroBatch, loss: Tensor) -> None:
        """Measure the norms at W and apply w(t); at the end of the window, move to w(t+1)."""
        backward = micro_batch.differentiate_shared(loss)
        if backward is None:
            return
        window = micro_batch.window
        if micro_batch.waits_for_counts:
            self.place.accumulate_collected(micro_batch, backward)
            micro_batch.collect(backward)
            if micro_batch.last:
                with self.memory.of(window.present):
                    weights = self.weights(window.losses)
                micro_batch.write_window(weights)
        else:
            self.place.accumulate(micro_batch, backward)
            with self.memory.of(micro_batch.present):
                weights = self.weights(micro_batch.losses)
            micro_batch.record_weights(micro_batch.present, weights)
            micro_batch.backward_weighted(backward, weights, weight_heads=True)
        if micro_batch.last:
            measured = norms(self.place.rows(window)) / window.normalisers()
            with self.memory.of(window.present):
                self.update(window.losses, measured)

    def _initial(self, losses: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """The initial losses L_k(0) of the tasks present; remembers those of new tasks."""
        if self.theoretical_losses is not None:
            given = self.theoretical_losses
            tasks = self.tasks or tuple(given)
            if set(tasks) != set(given) or min(given.values()) <= 0:
                raise ValueError(
                    "`GradNorm(theoretical_losses=)` should give a positive number for each of"
                    f" {sorted(tasks)}. Found {given}. Use log(C) for C classes."
                )
            present = self.memory.present(len(losses))
            scaled = self.in_prior_units(given)
            return self._constants.like([scaled[tasks[k]] for k in present], losses)
        initial = self._first.read(losses)
        # A loss of zero, of a batch without a valid label, is nothing to compare with.
        initial = torch.where(torch.isnan(initial) & (losses > 0), losses, initial)
        self._first.write(initial)
        return initial
