"""LeNet for images of two overlapping digits."""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.checks import check_number
from lightning_mtl.models.dense_network import DenseNetwork


class LeNet(DenseNetwork):
    """Two convolutions and a layer of 50 features that all tasks share; two layers per task.

    Sener & Koltun, "Multi-Task Learning as Multi-Objective Optimization", NeurIPS 2018, for
    MultiMNIST. Theirs has one input channel; this one takes RGB.

    Args:
        channels: output channels by task.
        size: height and width of the images, a multiple of 4: 28 as published, 36 for the canvas
            of `MultiMNIST`.
        dropout: probability of a feature (before the tasks) or channel (after the second
            convolution) to be zero in training.

    Raises:
        ValueError: if the size is no multiple of 4 from 16 on, or `dropout` no probability.
    """

    def __init__(self, channels: Mapping[str, int], size: int = 28, dropout: float = 0.5) -> None:
        if size % 4 or size < 16:
            raise ValueError(
                f"`LeNet(size=)` should be a multiple of 4, at least 16. Found {size}."
            )
        check_number("LeNet", "dropout", dropout, 0, 1)
        super().__init__(stride=4)
        self.size = size
        side = ((size - 4) // 2 - 4) // 2
        self.trunk = nn.Sequential(
            *(nn.Conv2d(3, 10, kernel_size=5), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Conv2d(10, 20, kernel_size=5), nn.Dropout2d(dropout), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(20 * side * side, 50), nn.ReLU()),
        )
        self.heads = nn.ModuleDict(
            {
                task: nn.Sequential(
                    nn.Linear(50, 50), nn.ReLU(), nn.Dropout(dropout), nn.Linear(50, out)
                )
                for task, out in channels.items()
            }
        )

    def predict(self, image: Float[Tensor, "N 3 H W"]) -> dict[str, Float[Tensor, "N C"]]:
        """One pass of the trunk, then every head on the same features.

        Raises:
            ValueError: if the images are not of the size that the network was built for.
        """
        if image.shape[-2:] != (self.size, self.size):
            height, width = image.shape[-2:]
            raise ValueError(
                f"`LeNet` should be given images of {self.size} x {self.size}. Found {height} x"
                f" {width}. Give it and the data one `size`."
            )
        features = self.trunk(image)
        return {task: head(features) for task, head in self.heads.items()}
