"""One step of an optimizer, which may evaluate the losses several times, or be skipped."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.optim import LBFGS, Optimizer

from lightning_mtl.engine.balancer import Balancer


class OptimizerStep:
    """Lets what a weighting remembers move once, however often the losses are evaluated.

    L-BFGS evaluates them until it is content, and others twice; all evaluations then start from the
    memory before the step, so that learned weights are the same in each, and what the first one has
    learned is kept. A step that a loss scaler skips, because a gradient was infinite, teaches
    nothing.

    Args:
        balancer: whose memory it is.
        optimizer: the optimizer itself.
        scaled: whether there is a loss scaler.
        may_repeat: whether this optimizer may evaluate the losses again.
    """

    def __init__(self, balancer: Balancer, optimizer: Any, scaled: bool, may_repeat: bool) -> None:
        self._balancer = balancer
        self._optimizer = optimizer
        self._scaled = scaled
        self._keeps_vectors = scaled or may_repeat or isinstance(optimizer, LBFGS)
        self._before: Any = None
        self._after_first: Any = None
        self._taken = not scaled
        self.evaluations = 0

    def begin_evaluation(self) -> None:
        """Go back to the memory before the step. Called before the losses are evaluated."""
        if self.evaluations == 0:
            self._before = self._balancer.snapshot(self._keeps_vectors)
        else:
            if self.evaluations == 1:
                self._after_first = self._balancer.snapshot(self._keeps_vectors)
            self._balancer.restore(self._before)
        self.evaluations += 1

    def run(self, step: Callable[[], Any]) -> None:
        """Take the step.

        Args:
            step: runs forward and backward pass, as often as the optimizer asks, and steps.
        """
        if not self._scaled or not isinstance(self._optimizer, Optimizer):
            step()
            self._taken = True
        else:
            handle = self._optimizer.register_step_post_hook(self._note)
            try:
                step()
            finally:
                handle.remove()
        if self.evaluations == 0:
            return
        if not self._taken:
            self._balancer.restore(self._before)
            self._balancer.forget_step()
        elif self.evaluations > 1:
            self._balancer.restore(self._after_first)

    def _note(self, optimizer: Optimizer, *args: Any) -> None:
        """Note that the step was taken. Called by the optimizer, unless the scaler skips it.

        Fused optimizers are always called, and look at the scaler's flag themselves; reading it
        waits for the device.
        """
        skipped = getattr(optimizer, "found_inf", None)
        self._taken = not (isinstance(skipped, Tensor) and bool(skipped))
