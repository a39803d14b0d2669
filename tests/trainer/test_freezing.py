"""Parts of the network that are frozen stay as they are, under every weighting, and train later."""

from collections.abc import Iterable, Sequence

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import BackboneFinetuning
from torch import nn

from lightning_mtl.callbacks import AlternatingUpdates
from tests.engine.test_nothing_to_balance import GRADIENT_LEVEL
from tests.support.toy import TASKS, Graded, parameters, quiet_trainer, toy_loader, validation
from tests.support.weightings import EXAMPLES, ROUTES

EVERY = EXAMPLES | {"AlternatingUpdates": AlternatingUpdates}
FAMILIES = ("losses evaluated twice", "learned weights", "norms at a layer", "Gramian", "Jacobian")
OFTEN = {*(ROUTES[family] for family in FAMILIES), "AlternatingUpdates"}
PARTS = ("trunk", *TASKS)
ALL = set(PARTS)
HEADS = ALL - {"trunk"}


def each(names: Iterable[str]) -> pytest.MarkDecorator:
    """Weightings by their names; one of each family by default, the others in slow tests."""
    slow = pytest.mark.slow
    cases = [pytest.param(name, marks=() if name in OFTEN else slow) for name in names]
    return pytest.mark.parametrize("name", cases)


class Network(Graded):
    """The toy, whose optimizer is given what is trainable, and a backbone for Lightning."""

    @property
    def backbone(self) -> nn.Module:
        return self.trunk

    def part(self, name: str) -> nn.Module:
        return self.trunk if name == "trunk" else self.heads[name]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        given = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return self.optimizer(given, lr=self.lr)


class Watch(L.Callback):
    """Records which parts of the network have moved in each epoch."""

    def __init__(self) -> None:
        self.moved: list[set[str]] = []

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Network) -> None:
        self.before = {part: parameters(pl_module.part(part)) for part in PARTS}

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Network) -> None:
        now = {part: parameters(pl_module.part(part)) for part in PARTS}
        self.moved.append({part for part in PARTS if not torch.equal(now[part], self.before[part])})


class Schedule(L.Callback):
    """Trains in each epoch the parts that are named for it, by hand.

    Args:
        epochs: what is trainable in each of them.
    """

    def __init__(self, epochs: Sequence[set[str]]) -> None:
        self.epochs = epochs

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Network) -> None:
        for part in PARTS:
            pl_module.part(part).requires_grad_(part in self.epochs[trainer.current_epoch])


def tuning() -> BackboneFinetuning:
    """Thaws the trunk in the second epoch, at the rate of the heads."""
    settings = {"initial_denom_lr": 1.0, "backbone_initial_lr": 0.05, "should_align": False}
    return BackboneFinetuning(1, lambda epoch: 1.0, **settings)


def trained(module: Network, *callbacks: L.Callback, epochs: int) -> list[set[str]]:
    """Trains a module, and says which of its parts have moved in each epoch."""
    watch = Watch()
    trainer = quiet_trainer(callbacks=[*callbacks, watch], max_epochs=epochs)
    trainer.fit(module, toy_loader(samples=8), validation())
    assert trainer.global_step == 2 * epochs
    assert parameters(module).isfinite().all()
    return watch.moved


@each(EVERY)
def test_what_a_schedule_freezes_stays_to_the_bit_and_moves_when_it_is_thawed(name: str) -> None:
    epochs = [HEADS, ALL, HEADS, ALL - {"two"}, {"trunk"}, ALL]
    module = Network(torch.optim.Adam, lr=0.01)
    assert trained(module, EVERY[name](), Schedule(epochs), epochs=len(epochs)) == epochs


@each(EVERY)
def test_backbone_finetuning_trains_the_heads_first_and_then_everything(name: str) -> None:
    module = Network(torch.optim.Adam, lr=0.01)
    assert trained(module, EVERY[name](), tuning(), epochs=3) == [HEADS, ALL, ALL]


@each(GRADIENT_LEVEL)
def test_a_rule_of_gradients_starts_when_lightning_thaws_the_backbone(name: str) -> None:
    thawed, heads, fresh = Network(), Network(), Network()
    trained(thawed, EVERY[name](), tuning(), epochs=2)
    trained(heads, tuning(), epochs=1)
    fresh.load_state_dict(heads.state_dict())
    assert trained(fresh, EVERY[name](), epochs=1) == [ALL]
    torch.testing.assert_close(parameters(thawed), parameters(fresh), atol=1e-6, rtol=1e-5)
