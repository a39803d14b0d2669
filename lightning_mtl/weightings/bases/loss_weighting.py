"""The base of the weightings that need the losses only."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from lightning_mtl.engine.micro_batch import MicroBatch
from lightning_mtl.engine.strategies import shards
from lightning_mtl.engine.trainer_facts import has_static_graph
from lightning_mtl.weightings.bases.common import Common, Unpack
from lightning_mtl.weightings.bases.weighting import Weighting


class LossWeighting(Weighting):
    """A weighting that needs the losses only; it works under every strategy (but see below).

    The network minimises Σ w_k L_k, heads included. Over ranks, a loss is the mean of those that
    have the task; over accumulated micro-batches, as ever in Lightning, it counts as 0 where the
    task is absent (unless the weights wait for the end of the window, as below). Where losses come
    with their numbers of labels, means run over the labels; under gradient accumulation the task
    gradients are then gathered as well.

    Args:
        common: what every weighting takes, see `Weighting`.

    Attributes:
        depends_on_losses: whether the weights of a step depend on its own losses. Under gradient
            accumulation these are known only at the end of the window; the task gradients are then
            gathered until there, at the price of a Gramian rule. Where parameters are sharded they
            cannot be, and accumulation is refused.
    """

    depends_on_losses: ClassVar[bool] = False

    def __init__(self, **common: Unpack[Common]) -> None:
        super().__init__(**common)
        self.follows_graph = self.depends_on_losses
        self._obstacle = ""

    def price_of(self, accumulate: int) -> str:
        """The price of each batch; K trunk passes where weights come after the last batch."""
        gathers = self.depends_on_losses and accumulate > 1
        return f"{self.price} + (K - 1) B" if gathers else self.price

    @abstractmethod
    def weights(self, losses: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """The weights of this step. Called for every micro-batch: it writes no memory.

        Args:
            losses: of the tasks present, detached, means over the ranks.
        """

    def update(self, losses: Float[Tensor, " K"]) -> None:
        """Learn from the losses of one optimizer step. Called after its backward pass.

        Args:
            losses: of the tasks present, detached, means over micro-batches and ranks.
        """

    def total(self, micro_batch: MicroBatch) -> Tensor:
        """Σ w_k L_k, or Σ L_k where the weights come later."""
        if self._gathers(micro_batch):
            return micro_batch.total()
        weights = self._weights_of(micro_batch.present, micro_batch.losses)
        micro_batch.record_weights(micro_batch.present, weights)
        return micro_batch.total(weights)

    def backward(self, micro_batch: MicroBatch, loss: Tensor) -> None:
        """Run one plain backward pass, or gather the gradients until the weights are known."""
        if self._gathers(micro_batch):
            micro_batch.collect(micro_batch.differentiate(loss))
        else:
            micro_batch.backward(loss)
        if micro_batch.last:
            self._conclude(micro_batch)

    def catch_up(self, micro_batch: MicroBatch) -> None:
        """Learn from the losses after a backward pass that was not run by `backward`.

        Raises:
            RuntimeError: if the weights of an accumulated window were still to come.
        """
        if self._gathers(micro_batch):
            super().catch_up(micro_batch)
        if micro_batch.last:
            self._conclude(micro_batch)

    def _conclude(self, micro_batch: MicroBatch) -> None:
        window = micro_batch.window
        if self._gathers(micro_batch):
            micro_batch.write_window(self._weights_of(window.present, window.losses))
        with self.memory.of(window.present):
            self.update(window.losses)

    def _weights_of(
        self, present: Sequence[int], losses: Float[Tensor, " k"]
    ) -> Float[Tensor, " k"]:
        with self.memory.of(present):
            return self.weights(losses)

    def _gathers(self, micro_batch: MicroBatch) -> bool:
        gathers = self.depends_on_losses and not micro_batch.alone
        if gathers and self._obstacle:
            # Lightning's scheduler of accumulation sets its factor after the setup.
            self._refuse_gathering()
        return gathers or micro_batch.waits_for_counts

    def _check_strategy(self, strategy: Any, accumulate: int = 1) -> None:
        self._obstacle = ""
        # Where parameters are sharded nothing is gathered, and the graph may not show them.
        self.follows_graph = self.depends_on_losses and not shards(strategy)
        if shards(strategy):
            self._obstacle = f"`{type(strategy).__name__}`, which shards them"
        elif has_static_graph(strategy):
            self._obstacle = "`static_graph=True`, with which there is one backward pass in a step"
        if self._obstacle and self.depends_on_losses and accumulate > 1:
            self._refuse_gathering()

    def _refuse_gathering(self) -> None:
        raise ValueError(
            f"`{type(self).__name__}` under gradient accumulation should have whole parameters: its"
            " weights depend on all losses of a step, so that it needs the gradient of each task."
            f" Found {self._obstacle}. Set `accumulate_grad_batches=1`, use a weighting whose"
            " weights come from earlier steps (learned ones, say), or a strategy that keeps whole"
            ' parameters, such as `"ddp"`.'
        )
