"""`MultiTaskNetwork`, the interface of the networks that `DensePrediction` trains."""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["MultiTaskNetwork"]


class MultiTaskNetwork(nn.Module, ABC):
    """A network that maps one input to one prediction per task.

    `DensePrediction` trains any module whose `forward` does that. A subclass of this class may also
    say what else is trained, and how.
    """

    @abstractmethod
    def forward(self, inputs: Float[Tensor, "N ..."]) -> dict[str, Float[Tensor, "N C ..."]]:
        """The raw prediction of each task: logits, metres, unnormalised vectors."""

    def training_losses(self, losses: dict[str, Float[Tensor, ""]]) -> dict[str, Float[Tensor, ""]]:
        """The losses to train by, given those of the tasks that a training batch has targets for.

        Called after the predictions, for each training batch. By default they are trained as they
        are.
        """
        return losses

    def lr_multiplier(self, name: str) -> float:
        """What the learning rate is multiplied by for the parameter `name`, as in `state_dict`.

        Called once for each parameter, when the optimizer is built. By default 1.
        """
        return 1.0

    def may_compile(self, name: str) -> bool:
        """Whether the module `name`, as in `named_modules`, may be compiled as one.

        Say no for one that computes something else for each task, since nobody can then tell the
        tasks apart within it. Called once for each module, when `DensePrediction` compiles the
        parts of the network. By default all may.
        """
        return True

    def start_epoch(self, progress: float) -> None:
        """Prepare what changes from epoch to epoch; by default nothing. Called as one starts.

        Args:
            progress: the share of the training that will be done at the end of the epoch, above 0
                and at most 1; 1 where the number of epochs is not known.
        """
