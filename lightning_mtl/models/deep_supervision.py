"""`DeeplySupervisedNetwork`, the base of networks with more than one prediction per task."""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor

from lightning_mtl.models.dense_network import DenseNetwork, at_size_of

__all__ = ["DeeplySupervisedNetwork"]


class DeeplySupervisedNetwork(DenseNetwork, ABC):
    """A network that also predicts on the way: from initial features, or at several scales.

    All predictions of a task are trained, each by the loss of the task at the size of the image,
    and their losses add up, so that there is one loss per task. Compile the parts of such a network
    rather than the whole: training does not call `forward`.

    Args:
        stride: what height and width must be divisible by inside.
        in_channels: channels of the image.
    """

    @abstractmethod
    def predict_all(
        self, image: Float[Tensor, "N I H W"]
    ) -> dict[str, list[Float[Tensor, "N C h w"]]]:
        """The predictions of each task, of any sizes and in order; the last one is the result."""

    def predict(self, image: Float[Tensor, "N I H W"]) -> dict[str, Float[Tensor, "N C h w"]]:
        """The last prediction of each task."""
        return {task: predictions[-1] for task, predictions in self.predict_all(image).items()}

    def supervised(
        self, inputs: Float[Tensor, "N I H W"]
    ) -> dict[str, list[Float[Tensor, "N C H W"]]]:
        """All predictions of each task, at the size of the image.

        Raises:
            ValueError: as `forward` does.
        """
        padded, predictions = self._predicted(inputs, self.predict_all)
        return {
            task: [at_size_of(prediction, padded, inputs) for prediction in of_task]
            for task, of_task in predictions.items()
        }
