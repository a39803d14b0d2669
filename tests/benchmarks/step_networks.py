"""Networks of a trunk and one head per task, with synthetic batches, for `bench_step`."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_mtl import join_features
from lightning_mtl.models import SharedEncoder
from lightning_mtl.models.dense_network import at_size_of
from lightning_mtl.models.encoders.build import build_encoder
from lightning_mtl.tasks import Depth, Normals, Segmentation

Batch = dict[str, Tensor]
DENSE = (Segmentation(5), Depth(), Normals())


class Split(nn.Module, ABC):
    """A network that can be run in two parts, as the floor of exact methods has to.

    Attributes:
        tasks: their names.
        encoder: the trunk, which holds all shared parameters.
        title: for the head of a table.
    """

    tasks: Sequence[str]
    encoder: nn.Module
    title: str

    @abstractmethod
    def trunk(self, batch: Batch) -> list[Tensor]:
        """The features that the heads receive."""

    @abstractmethod
    def loss(self, task: str, features: list[Tensor], batch: Batch) -> Float[Tensor, ""]:
        """The loss of one task."""

    @abstractmethod
    def make_batch(self) -> Batch:
        """A random batch."""

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The losses of all tasks."""
        features = self.trunk(batch)
        return {task: self.loss(task, features, batch) for task in self.tasks}

    def head(self, task: str) -> list[nn.Parameter]:
        """The parameters of one task alone."""
        return [
            parameter
            for name, parameter in self.named_parameters()
            if not name.startswith("encoder.") and task in name.split(".")
        ]

    def first_layer(self) -> nn.Module:
        """The layer whose gradient a backward pass of the trunk computes last."""
        return next(
            layer for layer in self.encoder.modules() if dict(layer.named_parameters(recurse=False))
        )


class Dense(Split):
    """Segmentation, depth and normals, or the first two, each by a decoder of its own.

    Args:
        count: K, 2 or 3.
        encoder: its name.
        decoder: its name.
        output_stride: of the encoder.
        size: height and width of an image, multiples of 32.
        batch: images in a batch.
    """

    def __init__(
        self,
        count: int,
        encoder: str,
        decoder: str,
        output_stride: int,
        size: tuple[int, int],
        batch: int,
    ) -> None:
        super().__init__()
        self.kinds = {task.name: task for task in DENSE[:count]}
        self.tasks = list(self.kinds)
        channels = {name: task.out_channels for name, task in self.kinds.items()}
        network = SharedEncoder(channels, encoder, decoder=decoder, output_stride=output_stride)
        self.encoder, self.decoders, self.heads = network.encoder, network.decoders, network.heads
        self.size, self.batch = size, batch
        self.title = f"{encoder} + {decoder}, {size[0]} x {size[1]}, batches of {batch}"

    def trunk(self, batch: Batch) -> list[Tensor]:
        return join_features(self.encoder(batch["image"]))

    def loss(self, task: str, features: list[Tensor], batch: Batch) -> Float[Tensor, ""]:
        prediction = self.heads[task](self.decoders[task](features))
        image = batch["image"]
        return self.kinds[task].loss(at_size_of(prediction, image, image), batch[task])

    def make_batch(self) -> Batch:
        shape = (self.batch, self.size[0], self.size[1])
        depth = torch.rand(shape).unsqueeze(1) + 1
        return {
            "image": _image(self.batch, self.size),
            "segmentation": torch.randint(0, 5, shape),
            "depth": depth,
            "normals": F.normalize(_image(self.batch, self.size), dim=1),
        }


class Pointwise(Split):
    """Any number of tasks, each a 1 x 1 convolution on the deepest features of an encoder.

    Args:
        count: K.
        encoder: its name.
        output_stride: of the encoder.
        size: height and width of an image, multiples of 32.
        batch: images in a batch.
    """

    def __init__(
        self, count: int, encoder: str, output_stride: int, size: tuple[int, int], batch: int
    ) -> None:
        super().__init__()
        self.tasks = [f"task{index}" for index in range(count)]
        self.encoder = build_encoder(encoder, None, output_stride)
        width = self.encoder.out_channels[-1]
        self.heads = nn.ModuleDict({task: nn.Conv2d(width, 1, 1) for task in self.tasks})
        self.stride, self.size, self.batch = output_stride, size, batch
        self.title = f"{encoder} + 1 x 1 heads, {size[0]} x {size[1]}, batches of {batch}"

    def trunk(self, batch: Batch) -> list[Tensor]:
        return [self.encoder(batch["image"])[-1]]

    def loss(self, task: str, features: list[Tensor], batch: Batch) -> Float[Tensor, ""]:
        return F.mse_loss(self.heads[task](features[0]), batch[task])

    def make_batch(self) -> Batch:
        shape = (self.batch, 1, self.size[0] // self.stride, self.size[1] // self.stride)
        targets = {task: torch.randn(shape) for task in self.tasks}
        return {"image": _image(self.batch, self.size), **targets}


class Tiny(Split):
    """Two small layers and a linear head per task: all of a step is Python.

    Args:
        count: K.
        batch: samples in a batch.
    """

    def __init__(self, count: int, batch: int = 8) -> None:
        super().__init__()
        self.tasks = [f"task{index}" for index in range(count)]
        self.encoder = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
        self.heads = nn.ModuleDict({task: nn.Linear(32, 1) for task in self.tasks})
        self.batch = batch
        self.title = f"two linear layers of 32, linear heads, batches of {batch}"

    def trunk(self, batch: Batch) -> list[Tensor]:
        return [self.encoder(batch["image"])]

    def loss(self, task: str, features: list[Tensor], batch: Batch) -> Float[Tensor, ""]:
        return F.mse_loss(self.heads[task](features[0]), batch[task])

    def make_batch(self) -> Batch:
        targets = {task: torch.randn(self.batch, 1) for task in self.tasks}
        return {"image": torch.randn(self.batch, 16), **targets}


def batches(network: Split, count: int, device: torch.device) -> Iterator[Batch]:
    """Some batches on the device, the same ones at each call."""
    torch.manual_seed(0)
    for _ in range(count):
        yield _on(network.make_batch(), device)


def _on(batch: Mapping[str, Tensor], device: torch.device) -> Batch:
    return {name: tensor.to(device) for name, tensor in batch.items()}


def _image(count: int, size: tuple[int, int]) -> Float[Tensor, "N 3 H W"]:
    return torch.randn(count, 3, *size)
