"""Every weighting on rendered rooms, twenty steps in every way that a Trainer can be told to."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from lightning_mtl.weightings.bases.cross_gramian_weighting import CrossGramianWeighting
from tests.support.ddp_family_rooms import trained
from tests.support.ranks import results_of
from tests.support.rooms import (
    EPOCHS,
    ROOMS_EXAMPLES,
    STEPS,
    ResumableRooms,
    RoomsData,
    small_module,
)
from tests.support.toy import parameters, quiet_trainer, weights
from tests.support.weightings import has_moved

pytestmark = pytest.mark.slow

SETTINGS: dict[str, dict[str, Any]] = {
    "float32": {},
    "bf16-mixed": {"precision": "bf16-mixed"},
    "accumulation": {"accumulate_grad_batches": 4},
    "clipping": {"gradient_clip_val": 0.1},
}


@pytest.fixture(scope="module")
def two_ranks() -> dict[str, Tensor]:
    """Every weighting trained by two gloo processes, each with half of every batch."""
    return results_of("ddp_family_rooms", timeout=2400)


def runs(name: str, way: str) -> None:
    module = small_module()
    start = parameters(module)
    settings = SETTINGS[way]
    trainer = quiet_trainer(callbacks=[ROOMS_EXAMPLES[name]()], max_epochs=EPOCHS, **settings)
    steps = STEPS // EPOCHS * settings.get("accumulate_grad_batches", 1)
    trainer.fit(module, RoomsData(batch_size=2, steps=steps))
    assert trainer.global_step == STEPS
    end = parameters(module)
    assert torch.isfinite(end).all()
    assert not torch.equal(end, start)
    assert has_moved(name, weights(module))


def resumes(name: str, folder: Path) -> None:
    def train(ckpt_path: Path | None = None) -> Tensor:
        module = small_module(torch.optim.Adam)
        saver = ModelCheckpoint(folder, filename="middle", every_n_train_steps=13, save_top_k=1)
        trainer = quiet_trainer(
            callbacks=[ROOMS_EXAMPLES[name](), saver], max_epochs=EPOCHS, enable_checkpointing=True
        )
        trainer.fit(module, ResumableRooms(2), ckpt_path=ckpt_path)
        assert trainer.global_step == STEPS
        return parameters(module)

    straight = train()
    assert torch.equal(train(folder / "middle.ckpt"), straight)


TIES = {"GradDrop": 1e-3}
"""Shares of the parameters for which a rounding may decide: GradDrop keeps the positive gradients
of a parameter where its sign purity is above a number that is drawn, and both may agree to rounding
in one of 8,473 parameters in one of twenty steps."""


OTHER_PARTS = {"NTKMTL"}
"""Rules on four parts of a batch, which the two samples of a rank do not have."""

AMPLIFIES = {"FairGrad(priorities)": 1e-2}
"""How far parameters may be apart: on one rank, a change of the first ones by one rounding (6e-8)
moves the last ones by up to 1.6e-3."""


@pytest.mark.parametrize("way", [*SETTINGS, "resuming", "two ranks"])
@pytest.mark.parametrize("name", ROOMS_EXAMPLES)
def test_twenty_steps(name: str, way: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if way in SETTINGS:
        runs(name, way)
    elif way == "resuming":
        resumes(name, tmp_path)
    else:
        ranks = request.getfixturevalue("two_ranks")
        assert ranks[f"replicas {name}"] == 0.0
        assert has_moved(name, ranks[f"weights {name}"])
        # Rules on J_r J_sᵀ of different parts see more of them with two ranks.
        other_parts = isinstance(ROOMS_EXAMPLES[name](), CrossGramianWeighting)
        if not other_parts and name not in OTHER_PARTS:
            one, _ = trained(name, devices=1, batch_size=4)
            # Twenty steps amplify the rounding of another order of sums.
            far = ~torch.isclose(ranks[name], one, atol=AMPLIFIES.get(name, 2e-5), rtol=1e-4)
            assert float(far.double().mean()) <= TIES.get(name, 0), (ranks[name] - one).abs().max()
