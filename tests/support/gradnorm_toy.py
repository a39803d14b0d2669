"""The toy regression of GradNorm's paper, section 4: ten tasks alike but for their scale.

f_k(x) = σ_k tanh((B + ε_k) x) for x in R^250 and y in R^100; B and ε_k are drawn once, from normals
of deviation 10 and 3.5. The paper leaves open the distribution of x, σ, batch and learning rates.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from lightning_mtl import MultiTaskModule
from lightning_mtl.callbacks import Weighting
from tests.support.toy import quiet_trainer

SIGMA = (20.4, 25.6, 4.2, 5.7, 4.5, 2.2, 20.2, 2.3, 8.7, 33.2)
"""Absolute values of ten draws from N(0, 10²)."""

INPUTS, WIDTH, OUTPUTS = 250, 100, 100


class ScaledTanh(IterableDataset):
    """Batches of 100 inputs on the unit sphere and their targets; never the same twice."""

    def __init__(self, steps: int, seed: int) -> None:
        self.steps = steps
        self.generator = torch.Generator().manual_seed(seed)
        common = 10.0 * self.normal(1, OUTPUTS, INPUTS)
        self.matrices = common + 3.5 * self.normal(len(SIGMA), OUTPUTS, INPUTS)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return (self.batch(100) for _ in range(self.steps))

    def batch(self, size: int) -> tuple[Float[Tensor, "N 250"], Float[Tensor, "K N 100"]]:
        x = nn.functional.normalize(self.normal(size, INPUTS), dim=1)
        scale = torch.tensor(SIGMA)[:, None, None]
        return x, scale * torch.tanh(x @ self.matrices.transpose(1, 2))

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator)


class GradNormToy(MultiTaskModule):
    """A trunk of four ReLU layers of 100, and one affine layer per task."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        widths = (INPUTS, *4 * (WIDTH,))
        layers = [(nn.Linear(i, o), nn.ReLU()) for i, o in pairwise(widths)]
        self.trunk = nn.Sequential(*(module for layer in layers for module in layer))
        self.heads = nn.ModuleList(nn.Linear(WIDTH, OUTPUTS) for _ in SIGMA)
        self.weight_history: list[Tensor] = []

    def task_losses(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        x, targets = batch
        features = self.trunk(x)
        return {
            f"task {k}": nn.functional.mse_loss(head(features), target)
            for k, (head, target) in enumerate(zip(self.heads, targets, strict=True))
        }

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)

    def on_train_batch_end(self, outputs, batch, batch_idx) -> None:
        self.weight_history.append(torch.stack(list(self.task_weights.values())))


class Outcome(NamedTuple):
    """How a run ended."""

    ratio: float  # Σ L_k(t) / L_k(0) on 2000 unseen inputs
    weights: Float[Tensor, "steps K"]


def train(weighting: Weighting, steps: int, seed: int) -> Outcome:
    """Train with the data, the test set and the initial network that belong to the seed."""
    data, module = ScaledTanh(steps, seed), GradNormToy(seed)
    unseen = data.batch(2000)
    before = test_losses(module, unseen)
    trainer = quiet_trainer(max_steps=steps, callbacks=[weighting])
    trainer.fit(module, DataLoader(data, batch_size=None))
    ratio = float((test_losses(module, unseen) / before).sum())
    return Outcome(ratio, torch.stack(module.weight_history))


@torch.no_grad()
def test_losses(module: GradNormToy, batch: tuple[Tensor, Tensor]) -> Float[Tensor, " K"]:
    return torch.stack(list(module.task_losses(batch).values()))
