"""The mistakes that people make, and the whole of what they are told."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_mtl.callbacks import MGDA, EqualWeighting, GradNorm, UncertaintyWeighting
from tests.support.toy import Toy, quiet_trainer, toy_loader

LOSSES = "in the line that the error above points to."


class Net(Toy):
    """A toy with a loss that is computed from the features in another way, or put in afterwards.

    Args:
        two: the loss of the second task, from the features and the batch.
    """

    def __init__(self, two: Callable[[Tensor, Sequence[Tensor]], Any]) -> None:
        super().__init__()
        self.two = two

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Any]:
        return super().task_losses(batch) | {"two": self.two(self.trunk(batch[0]), batch)}


def fit(module: L.LightningModule, *callbacks: L.Callback, **settings: Any) -> L.Trainer:
    trainer = quiet_trainer(**({"callbacks": list(callbacks), "max_steps": 2} | settings))
    trainer.fit(module, toy_loader())
    return trainer


def said(kind: type[Exception], action: Callable[[], Any]) -> str:
    """The message of the error that an action ends with."""
    with pytest.raises(kind) as caught:
        action()
    return str(caught.value)


def column(loss: Callable[..., Tensor], features: Tensor, batch: Sequence[Tensor]) -> Tensor:
    """A loss of predictions of shape (4, 1) and targets of shape (4,)."""
    return loss(features[:, :1].sigmoid(), batch[1][:, 0].sigmoid())


@pytest.mark.parametrize(
    "loss",
    [F.mse_loss, F.binary_cross_entropy],
    ids=lambda loss: loss.__name__.replace("_", " "),
)
@pytest.mark.parametrize("action", ["default", "ignore", "error"])
def test_targets_without_the_axis_of_the_predictions(
    loss: Callable[..., Tensor], action: str
) -> None:
    module = Net(partial(column, loss))
    warnings.filterwarnings(action, "Using a target size")
    if action == "default" and loss is not F.binary_cross_entropy:
        with pytest.warns(UserWarning, match="Using a target size"):
            module.task_losses(next(iter(toy_loader())))
    assert said(ValueError, lambda: fit(module, MGDA())) == (
        "`Net.task_losses` should compare predictions and targets of one shape. Found a target of"
        " shape (4,) beside a prediction of shape (4, 1), which would compare every prediction with"
        f" every target of the batch. Write `target.unsqueeze(1)` {LOSSES}"
    )


def test_targets_with_an_axis_more_than_the_predictions() -> None:
    def image(features: Tensor, batch: Sequence[Tensor]) -> Tensor:
        return F.binary_cross_entropy_with_logits(features.view(4, 4, 2), torch.ones(4, 1, 4, 2))

    message = said(ValueError, lambda: fit(Net(image)))
    assert "(4, 1, 4, 2) beside a prediction of shape (4, 4, 2)" in message
    assert f"Write `target.squeeze(1)` {LOSSES}" in message


@pytest.mark.filterwarnings("ignore:Using a target size")
def test_other_broadcasts_are_torchs_business() -> None:
    def constant(features: Tensor, batch: Sequence[Tensor]) -> Tensor:
        return F.mse_loss(features, torch.zeros(1, 8)) + F.mse_loss(features, torch.zeros(()))

    assert fit(Net(constant)).global_step == 2


@pytest.mark.parametrize(
    ("build", "found"),
    [(float, "the float"), (lambda loss: loss.detach().numpy(), "array(")],
    ids=["a float", "an array"],
)
def test_a_loss_that_is_a_number(build: Callable[[Tensor], Any], found: str) -> None:
    module = Net(lambda features, batch: build(features.detach().square().mean() * 0 + 0.5))
    assert said(ValueError, lambda: fit(module)).startswith(
        f"`Net.task_losses` should return one scalar tensor per task. Found {found}"
    )
    assert said(ValueError, lambda: fit(module)).endswith(
        " for the task `two`. Return the tensor itself: `.item()`, `float()` and NumPy cut it off"
        " from the parameters that it should train."
    )


def test_a_loss_of_every_sample() -> None:
    module = Net(lambda features, batch: features.square().mean(1))
    assert said(ValueError, lambda: fit(module)) == (
        "`Net.task_losses` should return one scalar tensor per task. Found shape (4,) for the task"
        " `two`. Reduce it to one number, by `.mean()` for instance."
    )


@pytest.mark.parametrize("label", [8, -1])
def test_a_label_that_is_no_class(label: int) -> None:
    module = Net(lambda features, batch: F.cross_entropy(features, torch.full((4,), label)))
    with pytest.raises(ValueError, match="cross-entropy") as caught:
        fit(module)
    assert str(caught.value) == (
        "`Net.task_losses` should give a cross-entropy labels from 0 to C - 1, where C is the"
        " number of outputs of the head, or its `ignore_index` (-100 by default). Found the label"
        f" {label}. Give the head more outputs, or map such labels to `ignore_index`, {LOSSES}"
    )
    assert isinstance(caught.value.__cause__, IndexError)


def test_an_index_error_of_ones_own_stays_as_it_is() -> None:
    module = Net(lambda features, batch: batch[9])
    assert "list index out of range" in said(IndexError, lambda: fit(module))


@pytest.mark.parametrize("weighting", [MGDA, UncertaintyWeighting])
def test_one_task_only(weighting: type[L.Callback], caplog: pytest.LogCaptureFixture) -> None:
    class Alone(Toy):
        task_names = ("one",)

        def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
            return {"one": super().task_losses(batch)["one"]}

    message = (
        "There is one task only, `one`, and nothing to balance: a weighting is not needed. If the"
        " first batch lacked some tasks, name them all in `task_names`."
    )
    with caplog.at_level("INFO"):
        fit(Alone(), weighting())
    assert [record.getMessage() for record in caplog.records].count(message) == 1
    caplog.clear()
    with caplog.at_level("INFO"):
        fit(Alone())
    assert "one task only" not in caplog.text


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Of a toy that was trained by `GradNorm` for an epoch of two steps."""
    trainer = quiet_trainer(callbacks=[GradNorm()])
    trainer.fit(Toy(), toy_loader(samples=8))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


class Wide(Toy):
    """A trunk of another width, a layer more and a head less."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(6, 8), nn.Tanh())
        self.more = nn.Linear(8, 8)


WALL = (
    "`Wide` should be the module that the checkpoint was saved with. Found 2 entries that it lacks,"
    " `more.weight`, `more.bias`; 4 entries that the module does not have, `trunk.1.weight`,"
    " `trunk.1.bias`, `trunk.3.weight` and 1 more; 2 entries of another shape, `trunk.0.weight`"
    " (16, 6) instead of (8, 6), `trunk.0.bias` (16,) instead of (8,). Build `Wide` with the"
    " network, the tasks and the sizes of that run: a checkpoint holds parameters, not the code and"
    " arguments that they belong to. To start a new run from all parameters whose names and shapes"
    " agree, load these yourself by `load_state_dict(..., strict=False)`."
)


def test_a_checkpoint_of_another_network(checkpoint: Path) -> None:
    trainer = quiet_trainer(callbacks=[GradNorm()])
    resume = partial(trainer.fit, Wide(), toy_loader(), ckpt_path=checkpoint)
    assert said(RuntimeError, resume) == WALL
    assert said(RuntimeError, lambda: Wide.load_from_checkpoint(checkpoint)) == WALL


def test_a_checkpoint_whose_names_fit_in_part_is_loaded_in_part(checkpoint: Path) -> None:
    class More(Toy):
        def __init__(self) -> None:
            super().__init__()
            self.more = nn.Linear(8, 8)

    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    module = More()
    assert module.load_state_dict(state, strict=False).missing_keys == ["more.weight", "more.bias"]
    assert torch.equal(module.trunk[0].weight, state["trunk.0.weight"])
    found = said(RuntimeError, lambda: module.load_state_dict(state))
    assert "Found 2 entries that it lacks, `more.weight`, `more.bias`. Build" in found


@pytest.mark.parametrize(
    ("weightings", "found"),
    [([MGDA], "`MGDA`, which starts anew"), ([], "none, so losses are summed")],
    ids=["another", "none"],
)
def test_a_checkpoint_of_another_weighting(
    weightings: list[type[L.Callback]], found: str, checkpoint: Path
) -> None:
    callbacks = [kind() for kind in weightings]
    trainer = quiet_trainer(callbacks=callbacks, max_epochs=2)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        trainer.fit(Toy(), toy_loader(samples=8), ckpt_path=checkpoint)
    assert trainer.global_step == 4
    of_callbacks = [str(each.message) for each in warned if "GradNorm" in str(each.message)]
    assert of_callbacks == [
        "`Toy` should resume with the weighting of its checkpoint, `GradNorm`, to go on with what"
        f" that has learned. Found {found}. Attach `GradNorm` with the arguments of that run to"
        " continue it; a change on purpose needs nothing else."
    ]


def test_nothing_is_said_of_the_weighting_where_nothing_is_trained(checkpoint: Path) -> None:
    class Tested(Toy):
        def test_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
            self.log("test/loss", sum(self.task_losses(batch).values()))

    trainer = quiet_trainer()
    trainer.test(Tested(), toy_loader(), ckpt_path=checkpoint, verbose=False)
    assert trainer.callback_metrics["test/loss"] > 0
    Tested.load_from_checkpoint(checkpoint)


def test_the_weighting_of_the_checkpoint_is_not_said_to_be_another(checkpoint: Path) -> None:
    trainer = quiet_trainer(callbacks=[GradNorm()], max_epochs=2)
    trainer.fit(Toy(), toy_loader(samples=8), ckpt_path=checkpoint)
    assert trainer.global_step == 4


def test_a_checkpoint_of_the_weighting_with_other_arguments() -> None:
    weighting = EqualWeighting()
    state = weighting.state_dict() | {"tensors": {"average": torch.ones(3)}}
    assert said(ValueError, lambda: weighting.load_state_dict(state)) == (
        "The checkpoint of `EqualWeighting` should have only entries that it declares, []. Found"
        " ['average']. Resume with the class, the arguments and the version that it was saved with,"
        " or start without the checkpoint."
    )


def test_a_class_in_the_place_of_a_callback() -> None:
    trainer = quiet_trainer(callbacks=[MGDA])
    assert said(TypeError, lambda: trainer.fit(Toy(), toy_loader())) == (
        "`Trainer(callbacks=)` should hold instances of callbacks. Found the class `MGDA` itself."
        " Write `MGDA()`, with its arguments."
    )


def test_two_optimizers() -> None:
    class Several(Toy):
        def configure_optimizers(self) -> list[torch.optim.Optimizer]:
            return [torch.optim.SGD(part.parameters(), 0.1) for part in (self.trunk, self.heads)]

    assert said(ValueError, lambda: fit(Several(), MGDA())) == (
        "`Several.configure_optimizers` should return one optimizer, which steps with the balanced"
        " gradients. Found 2. Give each part of the network a parameter group of one optimizer,"
        " with settings of its own, as in `torch.optim.Adam([{'params': self.encoder.parameters(),"
        " 'lr': 1e-4}, {'params': self.heads.parameters()}])`. No tasks are balanced in manual"
        " optimization, which is no way out."
    )


def test_a_backward_pass_in_task_losses() -> None:
    def backward(features: Tensor, batch: Sequence[Tensor]) -> Tensor:
        loss = features.square().mean()
        loss.backward(retain_graph=True)
        return loss

    assert said(RuntimeError, lambda: fit(Net(backward), MGDA())) == (
        "`Net.task_losses` should return its losses and leave the backward pass to Lightning. Found"
        " gradients that it has written itself. Do not call `.backward()` in it. For a loss that"
        " contains a derivative, take `torch.autograd.grad(..., create_graph=True)`, which writes"
        " none."
    )
