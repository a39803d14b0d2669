"""Loss scaling, infinite gradients, and gradients that depend on each other up to rounding."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor

from lightning_mtl.callbacks import (
    MGDA,
    EqualWeighting,
    GradNorm,
    GramianWeighting,
    JacobianWeighting,
    UncertaintyWeighting,
)
from lightning_mtl.engine.errors import NonFiniteGradientError, NonFiniteParameterError
from tests.support.toy import Toy, logged, parameters, quiet_trainer, toy_loader
from tests.support.weightings import EXAMPLES

OF_GRADIENTS = [
    name
    for name, build in EXAMPLES.items()
    if isinstance(build(), GramianWeighting | JacobianWeighting)
]
ELSEWHERE = ["MGDA(last_layer)", "MGDA(features)", "MaxGNR(features)", "NTKMTL"]
"""They look at the last layer or the features, where the gradient of `Steep` is finite."""

of_gradients = pytest.mark.parametrize("name", OF_GRADIENTS)


def half_precision(scale: float) -> MixedPrecision:
    """Mixed precision with a loss scaler, which Lightning would only build for a GPU."""
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=10_000)
    return MixedPrecision("16-mixed", "cpu", scaler)


@pytest.mark.parametrize(
    "weighting",
    [
        EqualWeighting,
        UncertaintyWeighting,
        GradNorm,
        MGDA,
        lambda: MGDA(gradients="last_layer"),
        lambda: MGDA(gradients="features"),
    ],
    ids=[
        "EqualWeighting",
        "UncertaintyWeighting",
        "GradNorm",
        "MGDA",
        "MGDA(last_layer)",
        "MGDA(features)",
    ],
)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_nothing_logged_carries_the_loss_scale(weighting, accumulate):
    settings = {"accumulate_grad_batches": accumulate, "limit_train_batches": 10}
    plain = logged(Toy(), weighting(), **settings)
    scaled = logged(Toy(), weighting(), plugins=[half_precision(2.0**12)], **settings)
    assert len(plain) == len(scaled) == 10
    for expected, found in zip(plain, scaled, strict=True):
        assert found == pytest.approx(expected, rel=0.05, abs=0.03)


@pytest.mark.peer("T10")
@pytest.mark.parametrize("weighting", [EqualWeighting, GradNorm, MGDA])
def test_gradients_are_those_of_full_precision_once_unscaled(weighting):
    trained = []
    for plugins in ([], [half_precision(2.0**10)]):
        module = Toy()
        quiet_trainer(callbacks=[weighting()], plugins=plugins, gradient_clip_val=1.0).fit(
            module, toy_loader()
        )
        trained.append(parameters(module))
    torch.testing.assert_close(*trained, atol=0.02, rtol=0)


@pytest.mark.parametrize("name", ["EqualWeighting", "GradNorm", *OF_GRADIENTS])
def test_a_loss_scale_that_overflows_skips_steps_and_spoils_nothing(name: str) -> None:
    module, plugin = Toy(), half_precision(2.0**33)
    chosen = EXAMPLES[name]()
    quiet_trainer(callbacks=[chosen], plugins=[plugin]).fit(module, toy_loader())
    assert plugin.scaler.get_scale() < 2.0**33
    assert torch.isfinite(parameters(module)).all()
    assert not torch.equal(parameters(module), parameters(Toy()))
    assert all(torch.isfinite(value).all() for value in chosen.memory.tensors.values())


class Steep(Toy):
    """A finite loss with an infinite gradient: the square root at zero."""

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        if self.global_step < 3:
            return losses
        return losses | {"two": losses["two"] + (0 * self.trunk[0].weight).square().sum().sqrt()}


@pytest.mark.peer("T14")
@pytest.mark.parametrize("name", [name for name in OF_GRADIENTS if name not in ELSEWHERE])
def test_an_infinite_gradient_of_a_finite_loss_names_task_and_step(name: str) -> None:
    module = Steep()
    before: list[Tensor] = []
    module.on_train_batch_start = lambda batch, batch_idx: before.append(parameters(module))
    with pytest.raises(NonFiniteGradientError, match=r"step 3 .*`two`"):
        quiet_trainer(callbacks=[EXAMPLES[name]()]).fit(module, toy_loader())
    assert torch.equal(parameters(module), before[-1])


@pytest.mark.parametrize("name", ["EqualWeighting", "DWA", "MGDA(last_layer)"])
def test_no_checkpoint_is_written_of_what_an_infinite_gradient_has_spoilt(
    name: str, tmp_path: Path
) -> None:
    saver = ModelCheckpoint(tmp_path, every_n_train_steps=1, save_top_k=-1, filename="{step}")
    trainer = quiet_trainer(callbacks=[EXAMPLES[name](), saver], enable_checkpointing=True)
    with pytest.raises(NonFiniteParameterError, match=r"first in `trunk.0.weight`; nothing was"):
        trainer.fit(Steep(), toy_loader())
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["step=1", "step=2", "step=3"]


class Dependent(Toy):
    """Three tasks whose gradients span two directions, up to the rounding of their dtype."""

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        first, second, _ = super().task_losses([part.to(self.dtype) for part in batch]).values()
        return {"one": first, "two": 0.1 * second, "three": 0.7 * first + 0.05 * second}


@of_gradients
def test_dependent_gradients_are_told_from_rounding_in_single_precision(name: str) -> None:
    trained = []
    for dtype in (torch.float32, torch.float64):
        module = Dependent().to(dtype)
        quiet_trainer(callbacks=[EXAMPLES[name]()], max_steps=3).fit(module, toy_loader())
        trained.append(parameters(module.trunk).double())
    start = parameters(Dependent().trunk).double()
    moved = [float((end - start).norm()) for end in trained]
    assert moved[0] == pytest.approx(moved[1], rel=0.02)
