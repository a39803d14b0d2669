"""chemprop's message-passing network for several targets. Run with chemprop 2.3.1."""

from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_mtl import MultiTaskModule
from lightning_mtl.callbacks import FixedWeighting
from tests.support.packages import check_balanced, each_rule, why
from tests.support.toy import Log, parameters, quiet_trainer

data = pytest.importorskip("chemprop.data", reason=why("chemprop"))
models = pytest.importorskip("chemprop.models", reason=why("chemprop"))
nn = pytest.importorskip("chemprop.nn", reason=why("chemprop"))

TARGETS = ("solubility", "boiling", "toxicity")

pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step`.*")


class Mine(MultiTaskModule, models.MPNN):
    def task_losses(self, batch):
        return dict(zip(TARGETS, (self(*batch[:3]) - batch.Y).square().mean(0), strict=True))


def trained(kind: type[L.LightningModule], *callbacks: L.Callback) -> tuple[Any, Tensor]:
    molecules = ["C" * length + end for length in range(1, 5) for end in ("O", "N", "Cl", "C#N")]
    values = np.random.default_rng(0).normal(size=(len(molecules), 3)) * (1, 3, 0.3)
    points = [
        data.MoleculeDatapoint.from_smi(*pair) for pair in zip(molecules, values, strict=True)
    ]
    loader = data.build_dataloader(data.MoleculeDataset(points), batch_size=8, shuffle=False)
    torch.manual_seed(0)
    head = nn.RegressionFFN(n_tasks=3, input_dim=16, hidden_dim=16)
    module = kind(nn.BondMessagePassing(d_h=16), nn.MeanAggregation(), head, init_lr=1e-3)
    start = parameters(module)
    quiet_trainer(callbacks=list(callbacks), max_epochs=4).fit(module, loader)
    return module, start


def test_weighted_alike_it_trains_as_theirs() -> None:
    plain, _ = trained(models.MPNN)
    # Their loss is the mean over the targets.
    module, _ = trained(Mine, FixedWeighting(dict.fromkeys(TARGETS, 1 / 3)))
    torch.testing.assert_close(parameters(module), parameters(plain))


@each_rule
def test_its_targets_are_balanced(rule: Any) -> None:
    log = Log()
    module, start = trained(Mine, rule(), log)
    plain, _ = trained(models.MPNN)
    check_balanced(module, log, TARGETS, start, parameters(plain))
