"""A toy whose layers are large enough to be sketched, and what its task gradients are."""

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightning_mtl.callbacks import GramianWeighting
from lightning_mtl.catalogue import weightings
from tests.support.toy import TASKS, Toy

ARGUMENTS = {"MaxGNR": {"warmup_steps": 1}}
GRAMIAN_RULES = {
    kind.__name__: kind
    for kind in weightings()
    if issubclass(kind, GramianWeighting) and "sketch" in kind.places
}
"""The rules on inner products alone, wherever these are measured."""


QUICK = ("MGDA", "PCGrad", "SDMGrad", "MaxGNR")
"""Rules of every kind: of one Gramian, with random numbers, of sub-batches, and of rows."""


def few_by_default(names: Iterable[str]) -> list[Any]:
    """Cases of a test that runs over many rules: few of them quick, the others slow."""
    marks = {name: () if name in QUICK else pytest.mark.slow for name in names}
    return [pytest.param(name, marks=mark) for name, mark in marks.items()]


def build(name: str, gradients: str = "sketch", **arguments: object) -> GramianWeighting:
    """A Gramian rule by its name, without a warm-up of its own."""
    return GRAMIAN_RULES[name](gradients=gradients, **(ARGUMENTS.get(name, {}) | arguments))


class Convolutions(Toy):
    """Two convolutions, a group norm and a linear layer in the trunk, on images of 4 x 6."""

    def __init__(
        self,
        optimizer: type[torch.optim.Optimizer] = torch.optim.SGD,
        lr: float = 0.05,
        checkpointed: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(optimizer, lr)
        torch.manual_seed(7)
        self.trunk = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.GroupNorm(2, 4),
            nn.Tanh(),
            nn.Conv2d(4, 6, 3, stride=2),
            nn.Flatten(),
            nn.Linear(12, 20),
            nn.Tanh(),
            nn.Linear(20, 8),
        )
        self.checkpointed = checkpointed
        self.to(dtype)

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        x, *targets = (part.to(self.dtype) for part in batch)
        features = self.features(x)
        return {
            task: self.scales[task] * nn.functional.mse_loss(self.heads[task](features), target)
            for task, target in zip(TASKS, targets, strict=True)
        }

    def features(self, x: Tensor) -> Tensor:
        images = torch.stack([x, x.flip(1), x.square(), x.abs()], 1)[:, None]
        if self.checkpointed:
            return checkpoint(self.trunk, images, use_reentrant=False)
        return self.trunk(images)


def gradients_of(module: Toy, batch: Sequence[Tensor]) -> dict[str, Tensor]:
    """The exact gradients of the present tasks, (k, ...) by parameter; without `.grad`."""
    parameters = {n: p for n, p in module.named_parameters() if p.requires_grad}
    rows = [
        torch.autograd.grad(
            loss, list(parameters.values()), retain_graph=True, materialize_grads=True
        )
        for loss in module.task_losses(batch).values()
    ]
    columns = zip(parameters, zip(*rows, strict=True), strict=True)
    return {name: torch.stack(parts) for name, parts in columns}


class Recorded:
    """Mixed into a module: compares each step's gradients with those of its logged weights."""

    weights_heads = False

    def on_train_batch_start(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        self.rows = gradients_of(self, batch)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if not hasattr(self, "errors"):
            self.errors: list[float] = []
            self.measured: list[list[str]] = []
            self.applied: list[Tensor] = []
        weights = torch.stack([w for w in self.task_weights.values() if w.isfinite()])
        self.applied.append(weights)
        errors = []
        for name, parameter in self.named_parameters():
            if name not in self.rows:
                assert parameter.grad is None
                continue
            rows = self.rows[name]
            ones = weights.new_ones(len(rows))
            weighted = self.weights_heads or name.startswith("trunk")
            used = weights if weighted else ones
            wanted = torch.tensordot(used.to(rows), rows, 1)
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            errors.append((gradient - wanted).norm() / wanted.norm().clamp(min=1e-6))
        self.errors.append(float(max(errors).detach()))
        self.measured.append(measured_at(self.trainer.callbacks[0]))


def measured_at(rule: GramianWeighting) -> list[str]:
    """Names and shapes of what the rule has measured in this step; none if it has not."""
    place = getattr(rule, "place", None)
    return [] if place is None else list(getattr(place, "place", place).identity())


class RecordedConvolutions(Recorded, Convolutions):
    """Convolutions that compare."""
