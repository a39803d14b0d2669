"""The base of the weightings that need the losses only."""

from abc import abstractmethod
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from lightning_mtl.engine.micro_batch import Step
from lightning_mtl.engine.strategies import shards
from lightning_mtl.weightings.bases.weighting import Weighting


class LossWeighting(Weighting):
    """A weighting that needs the losses only; it works under every strategy (but see below).

    The network minimises Σ w_k L_k, heads included. Over ranks, a loss is the mean of those that
    have the task; over accumulated micro-batches, as ever in Lightning, it counts as 0 where the
    task is absent (unless the weights wait for the end of the window, as below).

    Attributes:
        depends_on_losses: whether the weights of a step depend on its own losses. Under gradient
            accumulation these are known only at the end of the window; the task gradients are then
            gathered until there, at the price of a Gramian rule. Where parameters are sharded they
            cannot be, and accumulation is refused.
    """

    depends_on_losses: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self._sharding = ""

    def price_of(self, accumulate: int) -> str:
        """With a pass for every task, where the weights come after the last batch."""
        gathers = self.depends_on_losses and accumulate > 1
        return f"{self.price} + (K - 1) B" if gathers else self.price

    @abstractmethod
    def weights(self, losses: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """The weights of this step. Changes no state: it is called for every micro-batch.

        Args:
            losses: of the tasks present, detached, means over the ranks.
        """

    def update(self, losses: Float[Tensor, " K"]) -> None:
        """Learn from the losses of one optimizer step, after its backward pass.

        Args:
            losses: of the tasks present, detached, means over micro-batches and ranks.
        """

    def total(self, step: Step) -> Tensor:
        """Σ w_k L_k, or Σ L_k where the weights come later."""
        if self._gathers(step):
            return step.total()
        self.state.present = step.present
        weights = self.weights(step.losses)
        step.note(step.present, weights)
        return step.total(weights)

    def backward(self, step: Step, loss: Tensor) -> None:
        """As Lightning does, or with the weights of the whole window."""
        if self._gathers(step):
            step.collect(step.differentiate(loss))
        else:
            step.backward(loss)
        if step.last:
            self._conclude(step)

    def catch_up(self, step: Step) -> None:
        """Learn from the losses after a backward pass that was not run by `backward`.

        Raises:
            RuntimeError: if the weights of an accumulated window were still to come.
        """
        if self._gathers(step):
            super().catch_up(step)
        if step.last:
            self._conclude(step)

    def _conclude(self, step: Step) -> None:
        self.state.present = step.window.tasks
        losses = step.window.losses
        if self._gathers(step):
            weights = self.weights(losses)
            counts = step.window.counts.cpu()
            step.release(step.window.reduce(), weights.tolist(), counts, weight_heads=True)
            step.note(step.window.tasks, weights)
        self.update(losses)

    def _gathers(self, step: Step) -> bool:
        gathers = self.depends_on_losses and not step.alone
        if gathers and self._sharding:
            # Lightning's scheduler of accumulation sets its factor after the setup.
            self._refuse_gathering()
        return gathers

    def _check_strategy(self, strategy: Any, accumulate: int = 1) -> None:
        self._sharding = type(strategy).__name__ if shards(strategy) else ""
        if self._sharding and self.depends_on_losses and accumulate > 1:
            self._refuse_gathering()

    def _refuse_gathering(self) -> None:
        raise ValueError(
            f"`{type(self).__name__}` under gradient accumulation needs the gradient of each task,"
            f" since its weights depend on all losses of a step, and `{self._sharding}` shards the"
            " parameters. Set `accumulate_grad_batches=1`, use a weighting whose weights come from"
            " earlier steps (learned ones, say), or a strategy that keeps whole parameters, such as"
            ' `"ddp"`.'
        )
