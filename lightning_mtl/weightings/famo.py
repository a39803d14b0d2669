"""The weighting FAMO, fast adaptive multitask optimisation."""

from collections.abc import Sequence
from typing import Any, ClassVar

import lightning as L
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lightning_mtl.distributed import sum_over_ranks
from lightning_mtl.engine.coming import Coming
from lightning_mtl.engine.prior import scaled_losses
from lightning_mtl.engine.replay import RandomState, replay
from lightning_mtl.engine.task_totals import or_one
from lightning_mtl.engine.trainer_facts import skips_backward
from lightning_mtl.module import MultiTaskModule
from lightning_mtl.weightings.bases.common import Common, Unpack
from lightning_mtl.weightings.bases.loss_weighting import LossWeighting
from lightning_mtl.weightings.memory.adam import Adam


class FAMO(LossWeighting):
    r"""Fast adaptive multitask optimisation: losses decrease at one rate, without task gradients.

    With z = softmax(ξ), a step descends c Σ z_k log L_k, c = 1 / Σ (z_k / L_k) a constant, so
    that w_k = c z_k / L_k. After it, ξ moves along the softmax's derivative of δ_k = log L_k
    before minus log L_k after the step, on the same samples: ξ ← ξ - lr (z ∘ (δ - z·δ) + γ ξ),
    by Adam. A task that fell less gains weight.

    Liu, Feng, Stone & Liu, "FAMO: Fast Adaptive Multitask Optimization", NeurIPS 2023, eq. 8 to 10,
    Algorithm 1.

    Scale: Σ w = 1, as in the paper. Part of the authors' code multiplies by c where the paper
    divides by Σ z / L, and its γ is 0.01, 1e-3 or 1e-5; in LibMTL and TorchJD it is 1e-3. A `prior`
    cancels on the shared parameters, but for the length of the step.
    Heads: weighted, as the network minimises the objective.
    Memory: under gradient accumulation, all batches of the window and K P numbers for the task
    gradients, which then take one trunk pass each.
    Deviations: Adam moves ξ, as in the authors' code. The losses after the step are computed with
    the same dropout, and without touching batch norm's statistics, metrics, logs or the global
    random numbers (torch, `random`, NumPy); under gradient accumulation for all batches of the
    window. What else `task_losses` changes, it changes twice a batch: a counter or a list of the
    module, a file, a random generator of its own. An optimizer that evaluates the losses several
    times in a step (L-BFGS) is judged by the first of them. Losses have to be positive; a loss of
    zero, of a batch without a valid label, counts as absent: its weight is 0, and its ξ stays.

    Args:
        lr: learning rate of ξ.
        gamma: γ, the decay of ξ.
        common: what every weighting takes, see `Weighting`.

    Example:
        >>> rule, before = FAMO(), torch.tensor([1.0, 4.0])
        >>> rule.weights(before)
        tensor([0.8000, 0.2000])
        >>> rule.learn(before, after=torch.tensor([0.5, 4.0]))  # only the first loss fell
        >>> rule.weights(before)
        tensor([0.7919, 0.2081])
    """

    price: ClassVar[str] = "2 F + H + B"
    depends_on_losses: ClassVar[bool] = True
    positive_losses: ClassVar[bool] = True

    def __init__(self, lr: float = 0.025, gamma: float = 1e-3, **common: Unpack[Common]) -> None:
        super().__init__(**common)
        self.lr = lr
        self.gamma = gamma
        self._logits = self.memory.per_task("logits")
        self._adam = Adam(self.memory)
        self._window: list[tuple[Any, RandomState]] = []
        self._start: RandomState | None = None
        self._before: Float[Tensor, " K"] | None = None
        self._tasks: list[int] = []

    def weights(self, losses: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """The weights c z / L, that is softmax(ξ - log L); 0 for a loss of zero."""
        logits = self._logits.read(losses) - _logarithms(losses)
        return _softmax(logits, losses > 0)

    def update(self, losses: Float[Tensor, " K"]) -> None:
        """Remember the losses of an optimizer step. Called before the parameters change.

        Of several evaluations within one step the first counts: it is the one at the parameters
        from which the step sets out.
        """
        if self._before is None:
            self._before = losses
            self._tasks = self.memory.present(len(losses))

    def learn(self, before: Float[Tensor, " K"], after: Float[Tensor, " K"]) -> None:
        """Move ξ by how one optimizer step has changed the losses. Called after the step.

        Args:
            before: the losses of the tasks present, before the step.
            after: those of the same samples, after it.
        """
        # A step that diverges teaches nothing, and must not be remembered for ever.
        valid = (before > 0) & (after > 0) & torch.isfinite(after)
        change = torch.where(valid, _logarithms(before) - _logarithms(after), 0.0)
        logits = self._logits.read(before)
        shares = _softmax(logits, valid)
        gradient = shares * (change - shares @ change) + self.gamma * logits
        self._logits.write(logits - self._adam.step(gradient, self.lr, moving=valid))

    def forget_step(self) -> None:
        """Drop the losses and the batches of this step. Called when the optimizer skipped it."""
        self._window = []
        self._start = None
        self._before = None

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget what an interrupted epoch had accumulated. Called as each epoch starts."""
        self.forget_step()

    def prepare(self, coming: Coming) -> Sequence[Tensor]:
        """Save the state of the random generators. Called before a batch's losses are computed.

        As in `update`, the first of several evaluations of a batch counts.
        """
        if self._start is None:
            self._start = RandomState.now(coming.device)
        return ()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """After an optimizer step, compute the losses of its batches again, and learn from them."""
        assert isinstance(pl_module, MultiTaskModule)
        start, self._start = self._start, None
        if start is None or skips_backward(trainer):
            return
        self._window.append((batch, start))
        if self._before is None:
            return
        before, self._before = self._before, None
        window, self._window = self._window, []
        sums = before.new_zeros(2, len(self.tasks))
        for inputs, generators in window:
            output = replay(trainer, pl_module, inputs, generators)
            for task, loss in scaled_losses(output.losses, self.prior).items():
                index = self.tasks.index(task)
                count = output.counts.get(task, torch.ones_like(loss)).to(sums)
                sums[0, index] += loss * count
                sums[1, index] += count
        total, count = sum_over_ranks(sums)
        after = total / or_one(count)
        with self.memory.of(self._tasks):
            self.learn(before, torch.stack([after[task] for task in self._tasks]))


def _logarithms(losses: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
    return losses.clamp(min=torch.finfo(losses.dtype).tiny).log()


def _softmax(logits: Float[Tensor, " K"], included: Bool[Tensor, " K"]) -> Float[Tensor, " K"]:
    """The softmax over the included tasks; 0 for the others, which may be all of them."""
    shares = torch.softmax(torch.where(included, logits, -torch.inf), 0)
    return torch.where(included, shares, 0.0)
