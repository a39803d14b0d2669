"""What the place of sketched gradients holds, and lets go of."""

import lightning as L

from lightning_mtl.callbacks import MGDA
from tests.support.convolutions import Convolutions, build, measured_at
from tests.support.toy import quiet_trainer, toy_loader


class Watching(L.Callback):
    """How many layers are watched after each step, and what was measured in it."""

    def __init__(self, rule: MGDA) -> None:
        self.rule = rule
        self.hooks: list[int] = []
        self.measured: list[list[str]] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.hooks.append(sum(len(part._forward_hooks) for part in pl_module.modules()))
        self.measured.append(measured_at(self.rule))


def watched(rule: MGDA, **settings) -> Watching:
    watching = Watching(rule)
    trainer = quiet_trainer(callbacks=[rule, watching], max_steps=3, **settings)
    trainer.fit(Convolutions(), toy_loader(8))
    return watching


def test_layers_are_watched_within_a_step_only() -> None:
    assert watched(build("MGDA")).hooks == [0, 0, 0]


def test_what_was_measured_is_named_with_its_shape() -> None:
    first, *others = watched(build("MGDA", sketch_rows=4)).measured
    assert "trunk.3.weight (6, 4, 3, 3)" in first
    for measured in others:
        assert "trunk.3.weight (6, 4)" in measured and "trunk.3.bias (6,)" in measured
        assert not any(name.startswith("heads") for name in measured)
        assert len(measured) == 10


def test_windows_of_several_batches_are_measured_exactly() -> None:
    measured = watched(build("MGDA"), accumulate_grad_batches=2).measured
    assert all("trunk.3.weight (6, 4, 3, 3)" in names for names in measured if names)


def test_the_price_says_that_no_weight_gradients_are_computed() -> None:
    rule = build("MGDA")
    assert rule.price == "F + H + K B_x + B"
    assert rule.price_of(2) == "F + H + K B"
    assert build("MGDA", every_n_steps=4).price == "F + H + B + K B_x / 4"
