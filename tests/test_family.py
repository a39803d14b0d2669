"""What holds for every weighting: ranks, accumulation, resuming, precision, absence, truth."""

from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_mtl.callbacks import JacobianWeighting
from tests.ddp_toy import train_all, weights
from tests.ranks import results_of
from tests.toy import (
    TASKS,
    Graded,
    PartlyGraded,
    ResumableLoader,
    Toy,
    parameters,
    quiet_trainer,
    toy_loader,
)
from tests.weightings import EXAMPLES

# Rules on J_r J_sᵀ of different parts see more of them with more ranks or micro-batches.
OF_ALL_PARTS = [name for name in EXAMPLES if not getattr(EXAMPLES[name](), "cross_parts", False)]
every_weighting = pytest.mark.parametrize("name", EXAMPLES)
every_weighting_of_all_parts = pytest.mark.parametrize("name", OF_ALL_PARTS)


SHORT_EPOCHS = {"max_epochs": 4, "limit_train_batches": 5}
"""Some rules move with an epoch or a validation only."""


def validation() -> DataLoader:
    return toy_loader(batch_size=16, samples=16)


def fitted(name: str, module: Toy | None = None, batch_size: int = 4, **settings) -> Tensor:
    module = module or Graded()
    trainer = quiet_trainer(callbacks=[EXAMPLES[name]()], **settings)
    trainer.fit(module, toy_loader(batch_size), validation())
    assert has_moved(name, weights(module))
    return parameters(module)


OFTEN_EQUAL = ("EqualWeighting", "GradVac", "PCGrad")
"""The last two have weights of 1 in every step without a conflict."""


def has_moved(name: str, weights: Tensor) -> bool:
    """Whether the weights, if there are any, have left those of equal weighting."""
    if name in OFTEN_EQUAL or not weights.numel():
        return True
    return bool((weights - 1).abs().max() > 1e-4)


@every_weighting_of_all_parts
def test_accumulated_batches_equal_one_large_batch(name: str) -> None:
    whole = fitted(name, batch_size=16, max_epochs=3)
    parts = fitted(name, batch_size=4, max_epochs=3, accumulate_grad_batches=4)
    torch.testing.assert_close(parts, whole, atol=2e-5, rtol=1e-4)


@every_weighting
@pytest.mark.parametrize(
    "settings", [{"precision": "bf16-mixed"}, {"gradient_clip_val": 0.1}], ids=str
)
def test_precision_and_clipping_keep_working(name: str, settings: dict) -> None:
    start = parameters(Toy())
    trained = fitted(name, **SHORT_EPOCHS, **settings)
    assert torch.isfinite(trained).all()
    assert not torch.equal(trained, start)


@every_weighting
def test_resuming_in_the_middle_of_an_epoch_is_exact_to_the_bit(name: str, tmp_path: Path) -> None:
    def train(ckpt_path: Path | None = None) -> Tensor:
        module = Graded(torch.optim.Adam, lr=0.01)
        saver = ModelCheckpoint(
            tmp_path, filename="middle", every_n_train_steps=27, enable_version_counter=False
        )
        trainer = quiet_trainer(
            callbacks=[EXAMPLES[name](), saver], max_epochs=4, enable_checkpointing=True
        )
        batches = ResumableLoader(toy_loader(samples=40))
        trainer.fit(module, batches, validation(), ckpt_path=ckpt_path)
        assert has_moved(name, weights(module))
        return parameters(module)

    straight = train()
    assert torch.equal(train(tmp_path / "middle.ckpt"), straight)


@every_weighting
@pytest.mark.parametrize("accumulate", [1, 4])
def test_tasks_may_be_absent(name: str, accumulate: int) -> None:
    trained = fitted(
        name,
        PartlyGraded(),
        max_epochs=4,
        limit_train_batches=8,
        accumulate_grad_batches=accumulate,
    )
    assert torch.isfinite(trained).all()


class Witness(L.Callback):
    """Compares the gradient that reaches the optimizer with the logged weights times J."""

    def __init__(self) -> None:
        self.worst = 0.0
        self.jacobian: list[Tensor] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        trunk = list(pl_module.trunk.parameters())
        losses = pl_module.task_losses(batch)
        with torch.enable_grad():
            rows = [
                torch.autograd.grad(
                    loss, trunk, retain_graph=True, allow_unused=True, materialize_grads=True
                )
                for loss in losses.values()
            ]
        self.jacobian = [torch.cat([part.flatten() for part in row]) for row in rows]

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        applied = torch.cat([p.grad.flatten() for p in pl_module.trunk.parameters()])
        weights = [float(pl_module.task_weights[task]) for task in TASKS]
        expected = sum(w * row for w, row in zip(weights, self.jacobian, strict=True))
        self.worst = max(self.worst, float((applied - expected).norm() / (expected.norm() + 1e-12)))


@pytest.mark.parametrize(
    "name", [n for n in EXAMPLES if not isinstance(EXAMPLES[n](), JacobianWeighting)]
)
def test_logged_weights_reproduce_the_applied_gradient(name: str) -> None:
    witness = Witness()
    module = Graded()
    trainer = quiet_trainer(callbacks=[EXAMPLES[name](), witness], **SHORT_EPOCHS)
    trainer.fit(module, toy_loader(), validation())
    assert witness.worst < 1e-5
    assert has_moved(name, weights(module))


@pytest.fixture(scope="module")
def two_ranks() -> dict[str, Tensor]:
    """Every weighting trained by two gloo processes, each with half of every batch."""
    return results_of("ddp_toy")


@pytest.fixture(scope="module")
def one_rank() -> dict[str, Tensor]:
    return train_all(devices=1, batch_size=8)


@every_weighting_of_all_parts
@pytest.mark.parametrize("variant", ["", "accumulated "])
def test_two_ranks_equal_one(name: str, variant: str, two_ranks, one_rank) -> None:
    torch.testing.assert_close(
        two_ranks[variant + name], one_rank[variant + name], atol=1e-5, rtol=1e-4
    )
    assert has_moved(name, two_ranks[f"weights {variant}{name}"])


@every_weighting
def test_ranks_stay_alike_when_they_have_different_tasks(name: str, two_ranks) -> None:
    assert two_ranks[f"replicas {name}"] == 0.0
