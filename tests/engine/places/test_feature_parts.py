"""The parts of a batch at the features, against the eigenvalues that they stand for."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from lightning_mtl.callbacks import NTKMTL
from lightning_mtl.engine.places.feature_parts import FeatureParts
from tests.support.toy import Toy, quiet_trainer, toy_data, toy_loader


class Seen(NTKMTL):
    """Keeps the eigenvalues that it is given."""

    def weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        self.largest = gramian.diagonal()
        assert torch.equal(gramian, torch.diag(self.largest))
        return super().weights(losses, gramian)


def eigenvalues(module: Toy, batch: Sequence[Tensor], parts: int) -> Tensor:
    """As the authors' code takes them: by the losses of the parts, at all features."""
    x, *targets = batch
    features, found = module.trunk(x), []
    for task, target in zip(module.task_names, targets, strict=True):
        errors = (module.heads[task](features) - target).square().mean(1)
        losses = [module.scales[task] * errors[part::parts].sum() / len(x) for part in range(parts)]
        rows = [torch.autograd.grad(loss, features, retain_graph=True)[0] for loss in losses]
        matrix = torch.stack([row.flatten() for row in rows]).double()
        found.append(torch.linalg.eigvalsh(matrix @ matrix.T)[-1])
    return torch.stack(found).detach()


@pytest.mark.parametrize("parts", [1, 2, 4, 5, 10, 20])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_they_are_the_largest_eigenvalues_of_the_tasks_gramians(
    parts: int, accumulate: int
) -> None:
    rule = Seen(parts)
    trainer = quiet_trainer(callbacks=[rule], max_steps=1, accumulate_grad_batches=accumulate)
    trainer.fit(Toy(), toy_loader(batch_size=20))
    batch = toy_data()[: 20 * accumulate]
    found = rule.largest
    torch.testing.assert_close(found, eigenvalues(Toy(), batch, parts), rtol=1e-4, atol=0)
    assert bool((found > 0).all())


def test_samples_that_do_not_fill_the_last_round_and_features_without_axes_count() -> None:
    place = FeatureParts(3)
    squares = place._squares([torch.tensor([[1.0], [2.0], [3.0], [4.0]]), torch.tensor(5.0)])
    assert squares.tolist() == [1 + 16 + 25, 4, 9]


class Complex(Toy):
    """Features that are complex numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = nn.Parameter(torch.tensor(1.0 + 1.0j))

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        x, *targets = batch
        features = self.trunk(x) * self.turn
        pairs = zip(self.task_names, targets, strict=True)
        return {
            task: (self.heads[task](features.real + features.imag) - target).square().mean()
            for task, target in pairs
        }


def test_complex_features_count_as_pairs_of_real_ones() -> None:
    rule = Seen()
    quiet_trainer(callbacks=[rule], max_steps=1).fit(Complex(), toy_loader())
    assert rule.largest.shape == (3,) and bool((rule.largest > 0).all())
