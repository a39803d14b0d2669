"""NequIP's interatomic potential, trained on energies and forces. Run with nequip 0.19.1."""

from collections.abc import Iterator
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_mtl import TrainingStepLosses
from lightning_mtl.callbacks import FixedWeighting
from tests.support.packages import check_balanced, each_rule, why
from tests.support.toy import Log, parameters, quiet_trainer

data = pytest.importorskip("nequip.data", reason=why("nequip"))
datasets = pytest.importorskip("nequip.data.dataset", reason=why("nequip"))
transforms = pytest.importorskip("nequip.data.transforms", reason=why("nequip"))
train = pytest.importorskip("nequip.train", reason=why("nequip"))
global_state = pytest.importorskip("nequip.utils.global_state", reason=why("nequip"))

LOSSES = ("per_atom_energy_mse", "forces_mse")

pytestmark = [
    pytest.mark.filterwarnings("ignore:You defined a `validation_step`.*"),
]


# It keeps a moving average of the parameters in its own `optimizer_step`, which calls no `super()`.
class Mine(TrainingStepLosses, train.EMALightningModule):
    def loss_modules(self):
        return self.loss


@pytest.fixture(scope="module", autouse=True)
def _their_precision() -> Iterator[None]:
    """Their global state makes float64 the default."""
    before = torch.get_default_dtype()
    global_state.set_global_state()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def trained(kind: type[L.LightningModule], *callbacks: L.Callback) -> tuple[Any, Tensor, Any]:
    steps = [
        transforms.ChemicalSpeciesToAtomTypeMapper(["Cu"], {"Cu": "Cu"}),
        transforms.NeighborListTransform(r_max=4.0),
    ]
    crystal = datasets.EMTTestDataset(
        transforms=steps, supercell=(2, 2, 1), num_frames=6, element="Cu", seed=1
    )
    loader = DataLoader(crystal, 2, collate_fn=data.AtomicDataDict.batched_from_list)
    network = {
        "_target_": "nequip.model.NequIPGNNModel",
        "seed": 1,
        "model_dtype": "float64",
        "type_names": ["Cu"],
        "r_max": 4.0,
        "num_layers": 2,
        "num_features": 4,
        "radial_mlp_width": 8,
        "avg_num_neighbors": 12.0,
        "per_type_energy_scales": 1.0,
        "per_type_energy_shifts": 0.0,
    }
    module = kind(
        model=network,
        num_datasets={"train": 1, "val": 0, "test": 0},
        optimizer={"_target_": "torch.optim.Adam", "lr": 0.01},
        loss={
            "_target_": "nequip.train.EnergyForceLoss",
            "coeffs": {"total_energy": 1.0, "forces": 1.0},
        },
    )
    start = parameters(module)
    trainer = quiet_trainer(callbacks=list(callbacks), max_epochs=2)
    trainer.fit(module, loader)
    return module, start, trainer.callback_metrics


def test_weighted_alike_it_trains_as_theirs_and_logs_what_theirs_logs() -> None:
    plain, _, expected = trained(train.EMALightningModule)
    # Their coefficients add up to one.
    module, _, logged = trained(Mine, FixedWeighting(dict.fromkeys(LOSSES, 0.5)))
    torch.testing.assert_close(parameters(module), parameters(plain))
    averages = [torch.cat([w.flatten() for w in m.ema.buffers()]) for m in (module, plain)]
    torch.testing.assert_close(*averages)
    # Those of the epoch are what their metrics have accumulated: each batch counts once.
    assert any(name.startswith("train_loss_epoch/") for name in expected)
    torch.testing.assert_close({name: logged[name] for name in expected}, dict(expected))


@each_rule
def test_energies_and_forces_are_balanced(rule: Any) -> None:
    log = Log()
    module, start, _ = trained(Mine, rule(), log)
    plain, _, _ = trained(train.EMALightningModule)
    check_balanced(module, log, LOSSES, start, parameters(plain))
