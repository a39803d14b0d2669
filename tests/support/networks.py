"""Toys whose graphs differ: what is shared, how, and when it becomes known."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.support.toy import TASKS, Toy


class PartOfAnother(Toy):
    """The second loss contains the first."""

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        return losses | {"two": losses["two"] + 0.5 * losses["one"]}


class Tied(Toy):
    """One head uses a matrix of the trunk."""

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        return losses | {"three": losses["three"] + self.trunk[3].weight.square().mean()}


class TrunkPerTask(Toy):
    """Every task sends an input of its own through the shared trunk."""

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        x, *targets = batch
        return {
            task: nn.functional.mse_loss(self.heads[task](self.trunk(x + shift)), target)
            for shift, (task, target) in enumerate(zip(TASKS, targets, strict=True))
        }


class CrossStitched(Toy):
    """A trunk for each task, with features mixed by learned numbers after the first layer."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.ModuleDict({task: nn.Linear(6, 8) for task in TASKS})
        self.second = nn.ModuleDict({task: nn.Linear(8, 8) for task in TASKS})
        self.stitch = nn.Parameter(0.8 * torch.eye(3) + 0.1)

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        x, *targets = batch
        first = torch.stack([self.trunk[task](x).tanh() for task in TASKS])
        mixed = torch.einsum("ij,jnd->ind", self.stitch, first)
        return {
            task: nn.functional.mse_loss(self.heads[task](self.second[task](own).tanh()), target)
            for task, own, target in zip(TASKS, mixed, targets, strict=True)
        }


class NoHead(Toy):
    """The first task reads its prediction off the features: it has no parameters of its own."""

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        x, *targets = batch
        features = self.trunk(x)
        found = (features[:, :2], self.heads["two"](features), self.heads["three"](features))
        pairs = zip(TASKS, found, targets, strict=True)
        return {task: nn.functional.mse_loss(own, target) for task, own, target in pairs}


class Checkpointed(Toy):
    """The trunk is recomputed in the backward pass."""

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        x, *targets = batch
        features = checkpoint(self.trunk, x, use_reentrant=False)
        return {
            task: self.scales[task] * nn.functional.mse_loss(self.heads[task](features), target)
            for task, target in zip(TASKS, targets, strict=True)
        }


class LastShared(Toy):
    def shared_parameters(self) -> list[nn.Parameter]:
        return list(self.trunk[3].parameters())


class AllShared(Toy):
    def shared_parameters(self) -> list[nn.Parameter]:
        return list(self.parameters())


class PartlyFrozen(Toy):
    """Names the whole trunk, of which one layer is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk[0].requires_grad_(False)

    def shared_parameters(self) -> list[nn.Parameter]:
        return list(self.trunk.parameters())


class Halves(Toy):
    """One loss comes in half precision, as without autocast's care."""

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        return losses | {"one": losses["one"].bfloat16()}


class Thaws(Toy):
    """Trains the first layer from the ninth batch on, as fine-tuning callbacks do."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk[0].requires_grad_(False)

    def on_train_batch_start(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        if batch_idx == 8:
            self.trunk[0].requires_grad_(True)


class Freezes(Toy):
    def on_train_batch_start(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        if batch_idx == 8:
            self.trunk[0].requires_grad_(False)


class OneByOne(Toy):
    """Tasks are seen for the first time one after the other, and not on every batch."""

    seen = (("one",), ("two",), ("one", "two"), ("one",), ("three",), TASKS)

    def __init__(self) -> None:
        super().__init__()
        self.batches = 0

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        present = self.seen[min(self.batches, len(self.seen) - 1)]
        self.batches += 1
        return {task: loss for task, loss in super().task_losses(batch).items() if task in present}
