"""One step of training, written by hand, with TorchJD, or left to this package."""

from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from lightning_mtl import MultiTaskModule
from tests.benchmarks.step_networks import Batch, Split


class Plain(L.LightningModule):
    """What a user would write without this package: the sum of the losses."""

    def __init__(self, network: Split) -> None:
        super().__init__()
        self.network = network

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return torch.stack(list(self.network.losses(batch).values())).sum()

    def configure_optimizers(self) -> Optimizer:
        return Adam(self.parameters(), lr=1e-4)


class Floor(Plain):
    """Exact task gradients by hand: heads down to detached features, the trunk once per task."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.features = self.network.trunk(batch)
        self.leaves = [feature.detach().requires_grad_() for feature in self.features]
        self.parts = [self.network.loss(task, self.leaves, batch) for task in self.network.tasks]
        return torch.stack([part.detach() for part in self.parts]).sum()

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        trunk = list(self.network.encoder.parameters())
        rows = [self._row(trunk, part, index) for index, part in enumerate(self.parts)]
        for row in rows[1:]:
            torch._foreach_add_(rows[0], row)
        for parameter, gradient in zip(trunk, rows[0], strict=True):
            parameter.grad = gradient
        del self.parts, self.leaves, self.features

    def _row(self, trunk: list[Tensor], part: Tensor, index: int) -> tuple[Tensor, ...]:
        for leaf in self.leaves:
            leaf.grad = None
        part.backward()
        used = [(f, x.grad) for f, x in zip(self.features, self.leaves, strict=True)]
        outputs = [f for f, gradient in used if gradient is not None]
        gradients = [gradient for _, gradient in used if gradient is not None]
        keep = index < len(self.parts) - 1
        return torch.autograd.grad(
            outputs, trunk, gradients, retain_graph=keep, materialize_grads=True
        )


class TorchJD(Plain):
    """TorchJD's backward pass through the heads and then the trunk, one task at a time.

    Args:
        network: what to train.
        aggregator: the name of a class of `torchjd.aggregation`.
    """

    def __init__(self, network: Split, aggregator: str) -> None:
        super().__init__(network)
        import torchjd.aggregation

        self.aggregator = getattr(torchjd.aggregation, aggregator)()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.features = self.network.trunk(batch)
        self.parts = [self.network.loss(task, self.features, batch) for task in self.network.tasks]
        return torch.stack([part.detach() for part in self.parts]).sum()

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        from torchjd.autojac import jac_to_grad, mtl_backward

        shared = list(self.network.encoder.parameters())
        mtl_backward(
            self.parts,
            features=self.features,
            shared_params=shared,
            tasks_params=[self.network.head(task) for task in self.network.tasks],
            parallel_chunk_size=1,
        )
        jac_to_grad(shared, self.aggregator)
        del self.parts, self.features


class Ours(MultiTaskModule):
    """What a user of this package writes."""

    def __init__(self, network: Split) -> None:
        super().__init__()
        self.network = network

    def task_losses(self, batch: Batch) -> dict[str, Tensor]:
        return self.network.losses(batch)

    def configure_optimizers(self) -> Optimizer:
        return Adam(self.parameters(), lr=1e-4)
