"""Equal weighting, and no weighting, are plain Lightning."""

import lightning as L
import pytest
import torch
from torch import Tensor

from lightning_mtl.callbacks import EqualWeighting
from tests.support.toy import Toy, parameters, quiet_trainer, toy_loader


class Plain(L.LightningModule):
    """The toy as a user would train it without this package."""

    def __init__(self) -> None:
        super().__init__()
        self.toy = Toy(torch.optim.Adam, lr=0.01)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return sum(self.toy.task_losses(batch).values())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


@pytest.mark.peer("L17")
@pytest.mark.parametrize("callbacks", [[], [EqualWeighting]], ids=["none", "equal"])
@pytest.mark.parametrize(
    "settings",
    [
        {"max_steps": 20},
        {"max_steps": 20, "accumulate_grad_batches": 4},
        {"max_steps": 20, "gradient_clip_val": 0.1},
        {"max_steps": 20, "precision": "bf16-mixed"},
    ],
    ids=["defaults", "accumulated", "clipped", "bf16-mixed"],
)
def test_parameters_equal_those_of_plain_lightning_after_20_steps(callbacks, settings) -> None:
    settings = {**settings, "max_epochs": -1}
    plain, balanced = Plain(), Toy(torch.optim.Adam, lr=0.01)
    quiet_trainer(**settings).fit(plain, toy_loader())
    trainer = quiet_trainer(callbacks=[kind() for kind in callbacks], **settings)
    trainer.fit(balanced, toy_loader())
    assert trainer.global_step == 20
    torch.testing.assert_close(parameters(balanced), parameters(plain), atol=1e-6, rtol=0)
