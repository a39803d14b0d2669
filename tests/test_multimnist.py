"""Two overlapping digits are learned in a few epochs, with and without a weighting."""

from functools import partial

import pytest
import torch

from lightning_mtl import DensePrediction
from lightning_mtl.callbacks import MGDA, EqualWeighting, MaxGNR
from lightning_mtl.data import MultiMNISTDataModule
from lightning_mtl.models import LeNet
from lightning_mtl.tasks import Classification
from tests.support.toy import quiet_trainer


@pytest.mark.slow
@pytest.mark.parametrize("weighting", [EqualWeighting, MGDA, MaxGNR])
def test_both_digits_are_told_at_over_85_percent(shared_data, weighting):
    """With the network, optimizer, batch and size of the config, and 10 of its 100 epochs."""
    torch.manual_seed(0)
    module = DensePrediction(
        [Classification(10, "left"), Classification(10, "right")],
        network=partial(LeNet, size=28),
        optimizer=partial(torch.optim.SGD, lr=0.05, momentum=0.9),
    )
    data = MultiMNISTDataModule(shared_data / "multidigit", digits="t10k", size=28)
    trainer = quiet_trainer(max_epochs=10, callbacks=[weighting()], check_val_every_n_epoch=10)
    trainer.fit(module, data)
    (logged,) = trainer.test(module, data, verbose=False)
    assert logged["test/left/accuracy"] > 0.85
    assert logged["test/right/accuracy"] > 0.85
