"""Rules that ask for products of independent parts get them from an accumulation window."""

from typing import ClassVar

import pytest
import torch
from torch import Tensor

from lightning_mtl.callbacks import GramianWeighting
from tests.toy import Toy, quiet_trainer, toy_loader


class Witness(GramianWeighting):
    """Keeps what it is given, and answers with ones."""

    cross_parts: ClassVar[bool] = True

    def weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        self.seen = gramian
        return torch.ones_like(losses)


def rows(module: Toy, batch: list[Tensor]) -> Tensor:
    trunk = list(module.trunk.parameters())
    losses = module.task_losses(batch).values()
    gradients = [torch.autograd.grad(loss, trunk, retain_graph=True) for loss in losses]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in gradients])


@pytest.mark.parametrize("parts", [2, 4])
def test_the_gramian_is_the_mean_over_pairs_of_different_micro_batches(parts: int) -> None:
    batches = list(toy_loader())[:parts]
    jacobians = [rows(Toy(), batch) for batch in batches]
    pairs = [a @ b.T for i, a in enumerate(jacobians) for j, b in enumerate(jacobians) if i != j]
    weighting = Witness()
    trainer = quiet_trainer(max_steps=1, accumulate_grad_batches=parts, callbacks=[weighting])
    trainer.fit(Toy(), toy_loader())
    torch.testing.assert_close(
        weighting.seen.float(), torch.stack(pairs).mean(0), atol=1e-6, rtol=1e-4
    )


def test_a_single_part_gives_its_own_gramian() -> None:
    jacobian = rows(Toy(), next(iter(toy_loader())))
    weighting = Witness()
    quiet_trainer(max_steps=1, callbacks=[weighting]).fit(Toy(), toy_loader())
    torch.testing.assert_close(weighting.seen.float(), jacobian @ jacobian.T, atol=1e-6, rtol=1e-4)
