"""Bad input is an error that names the thing, what was expected and what was found."""

from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import FSDPStrategy
from torch import Tensor

from lightning_mtl.callbacks import (
    DWA,
    MGDA,
    EqualWeighting,
    FixedWeighting,
    GradNorm,
    UncertaintyWeighting,
)
from lightning_mtl.engine.errors import NegativeLossError, NonFiniteLossError
from lightning_mtl.models.encoders.build import build_encoder
from tests.engine.test_plain_lightning import Plain
from tests.support.toy import TASKS, Toy, parameters, quiet_trainer, toy_loader
from tests.support.weightings import EXAMPLES, ROUTES


class Broken(Toy):
    """A toy whose losses are replaced from a given step on."""

    def __init__(self, replace, step: int = 0) -> None:
        super().__init__()
        self.replace = replace
        self.step = step

    def task_losses(self, batch: list[Tensor]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        return self.replace(losses) if self.global_step >= self.step else losses


def fit(module: L.LightningModule, *callbacks: L.Callback, **settings) -> None:
    quiet_trainer(callbacks=list(callbacks), **settings).fit(module, toy_loader())


def test_a_loss_that_is_no_scalar() -> None:
    module = Broken(lambda losses: losses | {"two": losses["two"].expand(4)})
    with pytest.raises(ValueError, match=r"one scalar tensor per task. Found shape \(4,\).*`two`"):
        fit(module)


@pytest.mark.peer("T13")
def test_a_loss_without_graph() -> None:
    module = Broken(lambda losses: losses | {"two": losses["two"].detach()})
    with pytest.raises(ValueError, match=r"`two` that has no graph"):
        fit(module)


def test_no_losses_at_all() -> None:
    with pytest.raises(TypeError, match=r"at least one task"):
        fit(Broken(lambda losses: {}))


def test_a_task_that_nobody_announced() -> None:
    module = Broken(lambda losses: losses | {"four": losses["one"] * 1}, step=3)
    with pytest.raises(ValueError, match=r"Found \['four'\] besides.*task_names"):
        fit(module)


@pytest.mark.peer("T14")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_task_and_step_and_spoils_nothing(
    value: float, tmp_path: Path
) -> None:
    good = Toy()
    quiet_trainer(max_steps=5, callbacks=[GradNorm()]).fit(good, toy_loader())
    module = Broken(lambda losses: losses | {"two": losses["two"] * value}, step=5)
    saver = ModelCheckpoint(tmp_path, every_n_train_steps=1, save_top_k=-1)
    with pytest.raises(NonFiniteLossError, match=r"step 5 .*`two` = (nan|inf)"):
        fit(module, GradNorm(), saver, enable_checkpointing=True)
    assert torch.equal(parameters(module), parameters(good))
    assert not any("step=6" in path.name for path in tmp_path.iterdir())


def test_two_weightings() -> None:
    with pytest.raises(ValueError, match=r"one weighting. Found `DWA` and `MGDA`"):
        fit(Toy(), DWA(), MGDA())


def test_a_weighting_on_a_plain_lightning_module() -> None:
    with pytest.raises(
        TypeError, match=r"`DWA` should be attached to a `MultiTaskModule`. Found `Plain`"
    ):
        fit(Plain(), DWA())


def test_an_unknown_encoder() -> None:
    with pytest.raises(ValueError, match=r"such as resnet.*Found 'resnet19'"):
        build_encoder("resnet19")


def test_weights_for_other_tasks() -> None:
    with pytest.raises(ValueError, match=r"should name the tasks \['one', 'three', 'two'\]"):
        fit(Toy(), FixedWeighting({"one": 1.0}))


def test_a_layer_that_is_not_shared() -> None:
    with pytest.raises(ValueError, match=r"Found 'heads.one', under which.*trunk.0.weight"):
        fit(Toy(), GradNorm(layer="heads.one"))


def test_a_task_that_is_no_classification() -> None:
    with pytest.raises(ValueError, match=r"Found \['four'\]"):
        fit(Toy(), UncertaintyWeighting(classification=["four"]))


@pytest.mark.parametrize("name", ["DBMTL", "DWA", "FAMO", "GeometricLoss", "GradNorm", "STCH"])
def test_a_negative_loss_where_logarithms_or_ratios_are_taken(name: str) -> None:
    module = Broken(lambda losses: losses | {"two": losses["two"] - 100}, step=3)
    with pytest.raises(NegativeLossError, match=rf"`{name}` should have positive .*`two` = -.*3"):
        fit(module, EXAMPLES[name]())


@pytest.mark.parametrize("name", ["EqualWeighting", "IMTLL", "MGDA", "UncertaintyWeighting"])
def test_a_negative_loss_is_fine_elsewhere(name: str) -> None:
    module = Broken(lambda losses: losses | {"two": losses["two"] - 100}, step=3)
    fit(module, EXAMPLES[name]())


@pytest.mark.parametrize("callbacks", [[], [DWA]])
def test_manual_optimization(callbacks: list) -> None:
    module = Toy()
    module.automatic_optimization = False
    with pytest.raises(ValueError, match=r"`Toy.automatic_optimization = False`.*`task_losses`"):
        fit(module, *(build() for build in callbacks))


def test_manual_optimization_behind_a_setup_of_ones_own() -> None:
    class OwnSetup(Toy):
        def setup(self, stage: str) -> None:
            self.automatic_optimization = False

    with pytest.raises(ValueError, match=r"`OwnSetup.automatic_optimization = False`"):
        fit(OwnSetup())


@pytest.mark.parametrize("callbacks", [[], [DWA]], ids=["none", "DWA"])
@pytest.mark.parametrize("own_setup", [False, True], ids=["setup", "own setup"])
def test_manual_optimization_with_a_step_of_ones_own(callbacks: list, own_setup: bool) -> None:
    class Manual(Toy):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
            self.manual_backward(sum(self.task_losses(batch).values()))

        def setup(self, stage: str) -> None:
            if not own_setup:
                super().setup(stage)

    with pytest.raises(
        ValueError, match=r"`Manual.automatic_optimization = False`.*`task_losses`.* group for each"
    ):
        fit(Manual(), *(build() for build in callbacks))


@pytest.mark.parametrize("name", ROUTES.values())
def test_a_class_among_the_callbacks(name: str) -> None:
    kind = type(EXAMPLES[name]())
    trainer = quiet_trainer(callbacks=[kind])
    for _ in range(2):
        with pytest.raises(
            TypeError, match=rf"the class `{kind.__name__}` itself. Write `\w+\(\)`"
        ):
            trainer.fit(Toy(), toy_loader())
    assert "log" not in vars(kind)


class Impatient(Toy):
    """Differentiates a loss where it is computed."""

    retain = False
    start = 0

    def task_losses(self, batch: list[Tensor]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        if self.global_step >= self.start:
            losses["two"].backward(retain_graph=self.retain)
        return losses


@pytest.mark.parametrize("callbacks", [[], [MGDA]], ids=["none", "MGDA"])
@pytest.mark.parametrize("retain", [False, True], ids=["freed", "retained"])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("start", [0, 3])
def test_a_backward_pass_among_the_losses(
    callbacks: list, retain: bool, accumulate: int, start: int
) -> None:
    module = Impatient()
    module.retain, module.start = retain, start
    with pytest.raises(
        RuntimeError, match=r"`Impatient.task_losses` should return.*Do not call `.backward\(\)` in"
    ):
        fit(module, *(build() for build in callbacks), accumulate_grad_batches=accumulate)
    assert module.global_step == start


def test_a_gradient_that_was_accumulated_before() -> None:
    """The second batch of a window adds to what the first has written."""

    class Late(Impatient):
        calls = 0

        def task_losses(self, batch: list[Tensor]) -> dict[str, Tensor]:
            self.calls += 1
            self.start = 0 if self.calls == 2 else 100
            return super().task_losses(batch)

    module = Late()
    module.retain = True
    with pytest.raises(RuntimeError, match=r"Do not call `.backward\(\)`"):
        fit(module, accumulate_grad_batches=2)
    assert module.calls == 2


class Deriving(Toy):
    """Takes a derivative of a loss, and writes no gradient, but leaves no graph."""

    def task_losses(self, batch: list[Tensor]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        (derivative,) = torch.autograd.grad(losses["two"], self.heads["two"].weight)
        return losses | {"two": losses["two"] * derivative.norm()}


@pytest.mark.parametrize("name", ROUTES.values())
def test_a_graph_that_has_been_freed(name: str) -> None:
    with pytest.raises(RuntimeError, match=r"graph is whole.*`create_graph=True`.*Detach what"):
        fit(Deriving(), EXAMPLES[name]())


class Several(Toy):
    """Returns several optimizers, in one of the forms that Lightning takes."""

    form = "list"

    def configure_optimizers(self):
        several = [torch.optim.SGD(part.parameters(), lr=0.1) for part in (self.trunk, self.heads)]
        schedulers = [torch.optim.lr_scheduler.StepLR(optimizer, 1) for optimizer in several]
        return {
            "list": several,
            "tuple": tuple(several),
            "with schedulers": (several, schedulers),
            "dicts": [{"optimizer": optimizer} for optimizer in several],
        }[self.form]


class Inheriting(Several):
    """Finds the method in its base."""


@pytest.mark.parametrize("kind", [Several, Inheriting])
@pytest.mark.parametrize("callbacks", [[], [MGDA]], ids=["none", "MGDA"])
@pytest.mark.parametrize("form", ["list", "tuple", "with schedulers", "dicts"])
def test_several_optimizers(kind: type[Several], callbacks: list, form: str) -> None:
    module = kind()
    module.form = form
    with pytest.raises(
        ValueError, match=rf"`{kind.__name__}.configure_optimizers` should .* Found 2.* group"
    ):
        fit(module, *(build() for build in callbacks))


def test_one_optimizer_made_of_several_is_fine() -> None:
    class Merged(Several):
        def configure_optimizers(self):
            (trunk, heads) = super().configure_optimizers()
            trunk.add_param_group(heads.param_groups[0])
            scheduler = torch.optim.lr_scheduler.StepLR(trunk, 1)
            return [trunk], [scheduler]

    module = Merged()
    fit(module, MGDA())
    assert module.global_step == 20


def test_a_weighting_that_was_trained_on_other_tasks() -> None:
    class Other(Toy):
        task_names = ("one", "four")

        def task_losses(self, batch: list[Tensor]) -> dict[str, Tensor]:
            losses = super().task_losses(batch)
            return {"one": losses["one"], "four": losses["two"]}

    weighting = DWA()
    fit(Toy(), weighting)
    with pytest.raises(
        ValueError, match=r"of its training, in an earlier run or.*three.*Found the tasks .*four"
    ):
        fit(Other(), weighting)


class Unshared(Toy):
    """Three networks side by side."""

    def task_losses(self, batch: list[Tensor]) -> dict[str, Tensor]:
        x, *_ = batch
        return {task: self.heads[task](x[:, :2].repeat(1, 4)).square().mean() for task in TASKS}


def test_nothing_to_share() -> None:
    with pytest.raises(ValueError, match=r"Found no shared parameters"):
        fit(Unshared(), MGDA())


def test_sharded_parameters_are_refused_with_the_ways_out() -> None:
    trainer = quiet_trainer()
    trainer.strategy.__class__ = FSDPStrategy
    with pytest.raises(ValueError, match=r"FSDPStrategy.*weighting of the losses.*ddp"):
        MGDA().setup(trainer, Toy(), "fit")
    EqualWeighting().setup(trainer, Toy(), "fit")


def test_a_checkpoint_of_other_tasks(tmp_path: Path) -> None:
    class Renamed(Toy):
        task_names = ("one", "two", "four")

        def task_losses(self, batch: list[Tensor]) -> dict[str, Tensor]:
            losses = super().task_losses(batch)
            return {"one": losses["one"], "two": losses["two"], "four": losses["three"]}

    saver = ModelCheckpoint(tmp_path, filename="last", every_n_epochs=1)
    fit(Toy(), DWA(), saver, enable_checkpointing=True)
    saver = ModelCheckpoint(tmp_path, filename="last", every_n_epochs=1)
    trainer = quiet_trainer(callbacks=[DWA(), saver], max_epochs=2, enable_checkpointing=True)
    with pytest.raises(ValueError, match=r"continue with.*three.*Found the tasks .*four"):
        trainer.fit(Renamed(), toy_loader(), ckpt_path=tmp_path / "last.ckpt")


def test_checkpoints_hold_nothing_but_data(tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path, filename="last", every_n_epochs=1)
    fit(Toy(), GradNorm(), saver, enable_checkpointing=True)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert saved["callbacks"]["GradNorm"]["tasks"] == ["one", "two", "three"]


@pytest.mark.parametrize(
    "build",
    [
        lambda: MGDA(gradients="middle"),
        lambda: MGDA(every_n_steps=0),
        lambda: MGDA(normalize="l3"),
        lambda: DWA(temperature=0),
        lambda: GradNorm(initial_loss="theoretical"),
    ],
    ids=["gradients", "every_n_steps", "normalize", "temperature", "initial_loss"],
)
def test_arguments_out_of_range_say_what_was_expected(build) -> None:
    with pytest.raises(ValueError, match=r"Found"):
        build()
