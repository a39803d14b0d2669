"""With weights of 1 every kind of network trains as by the plain sum, and no step waits."""

from collections.abc import Sequence
from functools import cache
from unittest.mock import patch

import pytest
import torch
import torch._inductor.config
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_mtl.callbacks import (
    DWA,
    MGDA,
    EqualWeighting,
    FixedWeighting,
    GradNorm,
    GramianWeighting,
    JacobianWeighting,
    UncertaintyWeighting,
)
from lightning_mtl.engine.transfers import LateChecks
from tests.support.networks import (
    AllShared,
    Checkpointed,
    CrossStitched,
    Freezes,
    Halves,
    LastShared,
    NoHead,
    OneByOne,
    PartlyFrozen,
    PartOfAnother,
    Thaws,
    Tied,
    TrunkPerTask,
)
from tests.support.toy import TASKS, Toy, parameters, quiet_trainer, toy_loader


class Ones(GramianWeighting):
    """All weights are 1, by way of the task gradients."""

    def weights(
        self, losses: Float[Tensor, " K"], gramian: Float[Tensor, "K K"]
    ) -> Float[Tensor, " K"]:
        return torch.ones_like(losses)


class Rows(JacobianWeighting):
    """The sum of the rows."""

    def combine(
        self, losses: Float[Tensor, " K"], jacobian: Float[Tensor, "K P"]
    ) -> Float[Tensor, " P"]:
        return jacobian.sum(0)


def trained(build: type[Toy], *callbacks: object, **settings: object) -> Tensor:
    module = build()
    quiet_trainer(callbacks=list(callbacks), **settings).fit(module, toy_loader())
    return parameters(module)


@cache
def plainly_trained(build: type[Toy], accumulate: int) -> Tensor:
    return trained(build, accumulate_grad_batches=accumulate)


NETWORKS = [
    Toy,
    PartOfAnother,
    Tied,
    TrunkPerTask,
    CrossStitched,
    NoHead,
    Checkpointed,
    LastShared,
    AllShared,
    PartlyFrozen,
    Thaws,
    Freezes,
    OneByOne,
]
CASES = [
    pytest.param(network, place, accumulate, id=f"{network.__name__}-{place}-{accumulate}")
    for network in NETWORKS
    for place in ("shared", "last_layer", "features", "rows")
    for accumulate in (1, 4)
    # Where there is no cut, features are refused: see test_task_backward.py.
    if not (place == "features" and network in (PartOfAnother, Tied))
    # A task's mean runs over the micro-batches that have it, which is no plain sum: see below.
    if not (accumulate > 1 and network is OneByOne)
]


@pytest.mark.peer("T18")
@pytest.mark.parametrize(("network", "place", "accumulate"), CASES)
def test_weights_of_one_are_the_plain_sum(network, place, accumulate):
    weighting = Rows() if place == "rows" else Ones(place)
    balanced = trained(network, weighting, accumulate_grad_batches=accumulate)
    plain = plainly_trained(network, accumulate)
    torch.testing.assert_close(balanced, plain, atol=2e-6, rtol=0)


def test_losses_of_several_precisions_are_summed_in_the_widest():
    torch.testing.assert_close(trained(Halves, Ones()), trained(Halves), atol=1e-6, rtol=0)


class OneByOneWithin(OneByOne):
    """The second loss contains the first, whose head is therefore found to be shared with it."""

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        if "two" in losses:
            losses["two"] = losses["two"] + 0.5 * losses["one"]
        return losses


class OneByOneGiven(OneByOne):
    shared_parameters = LastShared.shared_parameters


@pytest.mark.parametrize("network", [OneByOne, OneByOneWithin, OneByOneGiven])
@pytest.mark.parametrize("first", [("one",), ("three",), ("one", "three"), TASKS])
def test_a_window_whose_first_batch_lacks_tasks_gives_every_task_its_mean(network, first):
    """What was gathered before more was known to be shared is neither lost nor misplaced."""
    module = network()
    module.seen = (first, TASKS)
    found: list[dict[str, Tensor]] = []
    module.on_before_optimizer_step = lambda optimizer: found.append(
        {name: p.grad.clone() for name, p in module.named_parameters()}
    )
    trainer = quiet_trainer(
        callbacks=[Ones()], accumulate_grad_batches=4, max_steps=1, limit_train_batches=4
    )
    trainer.fit(module, toy_loader())
    twin = network()
    twin.seen = (TASKS,)
    losses: dict[str, list[Tensor]] = {task: [] for task in TASKS}
    for index, batch in zip(range(4), toy_loader(), strict=False):
        for task, loss in twin.task_losses(batch).items():
            if index or task in first:
                losses[task].append(loss)
    sum(torch.stack(group).mean() for group in losses.values()).backward()
    for name, parameter in twin.named_parameters():
        torch.testing.assert_close(found[0][name], parameter.grad, atol=1e-6, rtol=1e-5)


class Norms(Toy):
    """With layers whose backward pass fails under autocast when gradients are vectorised (T10)."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8), nn.LayerNorm(8)
        )


@pytest.mark.peer("T10", "T11")
@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
@pytest.mark.parametrize(
    "weighting",
    [Ones, Rows, GradNorm, MGDA, lambda: MGDA(gradients="features")],
    ids=["Ones", "Rows", "GradNorm", "MGDA", "MGDA(features)"],
)
def test_low_precision_trains_through_norm_layers(precision, weighting):
    result = trained(Norms, weighting(), precision=precision)
    assert torch.isfinite(result).all()
    assert not torch.equal(result, parameters(Norms()).to(result))


class Compiled(Toy):
    def __init__(self) -> None:
        super().__init__()
        self.trunk.compile(backend="aot_eager")


@pytest.mark.filterwarnings("ignore:dynamo_pgo force disabled")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("place", ["shared", "last_layer", "features"])
def test_a_compiled_trunk_trains_as_the_plain_one(place):
    plain = trained(Toy, Ones(place), max_steps=3)
    # Code that other tests have compiled may run once only.
    with torch._inductor.config.patch(force_disable_caches=True):
        torch.compiler.reset()
        compiled = trained(Compiled, Ones(place), max_steps=3)
    torch.compiler.reset()
    torch.testing.assert_close(compiled, plain, atol=1e-5, rtol=0)


class CompiledAsAWhole(Toy):
    def __init__(self) -> None:
        super().__init__()
        self.whole = torch.compile(self._predict, backend="aot_eager")

    def _predict(self, x: Tensor) -> list[Tensor]:
        features = self.trunk(x)
        return [head(features) for head in self.heads.values()]

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        x, *targets = batch
        pairs = zip(TASKS, self.whole(x), targets, strict=True)
        return {task: nn.functional.mse_loss(found, target) for task, found, target in pairs}


@pytest.mark.filterwarnings("ignore:.*treespec.*:FutureWarning")
def test_a_network_compiled_as_a_whole_is_warned_of():
    with pytest.warns(UserWarning, match="Compile the encoder and each head on its own"):
        trained(CompiledAsAWhole, MGDA(), max_steps=1)


class Syncs(TorchDispatchMode):
    """Counts the calls by which a number comes to Python, each of which waits for a device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        names = ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal")
        self.count += function.name().split(".")[0] in names
        return function(*args, **(kwargs or {}))


class Watched(Toy):
    """Counts what waits in a training step, apart from the check of the losses on the host."""

    def __init__(self) -> None:
        super().__init__()
        self.syncs = Syncs()

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        with self.syncs:
            return super().training_step(batch, batch_idx)

    def backward(self, loss: Tensor, *args: object, **kwargs: object) -> None:
        with self.syncs:
            super().backward(loss)


@pytest.mark.peer("L19", "T7")
@pytest.mark.parametrize(
    "weighting",
    [
        EqualWeighting,
        lambda: FixedWeighting(dict.fromkeys(TASKS, 1.0)),
        lambda: UncertaintyWeighting(classification=["one"]),
        DWA,
        GradNorm,
        lambda: GradNorm(initial_loss="theoretical", theoretical_losses=dict.fromkeys(TASKS, 1.0)),
        Rows,
    ],
    ids=[
        "EqualWeighting",
        "FixedWeighting",
        "UncertaintyWeighting",
        "DWA",
        "GradNorm",
        "GradNorm(theoretical)",
        "Rows",
    ],
)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_nothing_in_a_step_waits_for_the_device(weighting, accumulate):
    # The first step finds out which parameters are shared; nothing grows with the number of steps.
    short, long = (syncs(weighting, accumulate, batches) for batches in (4, 8))
    assert short == long


def syncs(weighting, accumulate: int, batches: int) -> int:
    module = Watched()
    trainer = quiet_trainer(
        callbacks=[weighting()],
        accumulate_grad_batches=accumulate,
        limit_train_batches=batches,
    )
    with patch.object(LateChecks, "add"):
        trainer.fit(module, toy_loader())
    return module.syncs.count
