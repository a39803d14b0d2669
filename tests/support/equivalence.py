"""What every weighting promises to be equal to, and how far from it two runs of the toy are.

An `Equivalence` is a column of the matrix, a rule one of its rows. `tests.equivalence` runs all of
it, and prints it as a table.
"""

import copy
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import cache
from typing import Any, NamedTuple

import lightning as L
import torch
import torch._inductor.config
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.tuner import Tuner
from torch import Tensor, nn

from lightning_mtl.callbacks import (
    MGDA,
    AlternatingUpdates,
    DynamicTaskPriority,
    FixedWeighting,
    GradNorm,
    Weighting,
)
from lightning_mtl.weightings.bases.cross_gramian_weighting import CrossGramianWeighting
from lightning_mtl.weightings.bases.gradient_weighting import GradientWeighting
from tests.support.parts import EPOCHS, Part, Parts, PartsData, Stream, in_groups, joined, parts
from tests.support.ranks import results_of
from tests.support.toy import TASKS, parameters, quiet_trainer, weights
from tests.support.weightings import EXAMPLES, IN_LOSSES, PRIOR, ROUTES, has_moved

Build = Callable[..., Weighting | None]

RULES: dict[str, Build] = {
    "none": lambda **common: None,
    **EXAMPLES,
    "AlternatingUpdates": AlternatingUpdates,
}

ONE_A_ROUTE = [name for name in RULES if name in ("none", *ROUTES.values(), "AlternatingUpdates")]
"""Rules that together take every way from the losses to the gradients."""

ALL_OTHERS = [name for name in RULES if name not in ONE_A_ROUTE]

# Their sub-batches are the micro-batches of all ranks: other parts are another rule.
OF_PARTS = [name for name in RULES if isinstance(RULES[name](), CrossGramianWeighting)]

REFUSES = {"AlternatingUpdates": "it refuses accumulation: a group would need each batch again"}
"""Rules without gradient accumulation."""


class Equivalence(NamedTuple):
    """One column of the matrix.

    Attributes:
        difference: trains twice with a rule; the largest difference of the parameters.
        tolerance: how large it may be; 0 is equality to the bit.
        exceptions: why a rule differs by its definition, or refuses.
        notes: what a rule is compared with instead.
    """

    difference: Callable[[str], float]
    tolerance: float
    exceptions: Mapping[str, str] = {}
    notes: Mapping[str, str] = {}

    @property
    def rules(self) -> list[str]:
        """The rules that it holds for."""
        return [name for name in RULES if name not in self.exceptions]


def fit(
    name: str,
    module: Parts,
    data: Any,
    *callbacks: L.Callback,
    weighting: Weighting | None = None,
    ckpt_path: str | None = None,
    **settings: Any,
) -> Parts:
    """Train for a few short epochs, each with a validation, and see that something moves.

    Args:
        name: of the rule.
        module: trained in place.
        data: for training and validation.
        callbacks: beside the weighting.
        weighting: instead of a new one of this name.
        ckpt_path: of the checkpoint to resume from.
        settings: of the Trainer.
    """
    rule, start = weighting or RULES[name](), parameters(module)
    settings = {"max_epochs": EPOCHS} | settings
    trainer = quiet_trainer(callbacks=[*([rule] if rule else []), *callbacks], **settings)
    trainer.fit(module, data, ckpt_path=ckpt_path)
    assert torch.isfinite(parameters(module)).all()
    assert not torch.allclose(parameters(module), start, atol=1e-3)
    assert has_moved(name, weights(module))
    return module


def difference(found: Parts, expected: Parts) -> float:
    """The largest difference of two modules' parameters, by name: either may have more of them."""
    ours, theirs = dict(found.named_parameters()), dict(expected.named_parameters())
    return max(
        float((ours[name] - theirs[name]).detach().abs().max()) for name in ours if name in theirs
    )


class StreamData(PartsData):
    """Batches that depend on their position only, from a loader that remembers it."""

    def __init__(self, batch_at: Callable[[int], Any], length: int) -> None:
        super().__init__([])
        self.loader = Stream(batch_at, length)

    @classmethod
    def of(cls, batches: Sequence[Any]) -> "StreamData":
        """These batches, in as many epochs as are trained."""
        return cls(batches.__getitem__, len(batches) // EPOCHS)

    def train_dataloader(self) -> Stream:
        return self.loader


def whole_batches(steps: int = 2, size: int = 8) -> list[list[Part]]:
    """Batches of one part with all tasks."""
    return in_groups(parts([size] * steps), 1)


@cache
def plain_run(name: str) -> Parts:
    """A rule on one rank and whole batches: what several columns compare with."""
    return fit(name, Parts(), PartsData(whole_batches()))


# -- n micro-batches = 1


def micro_batches_and_one(name: str) -> float:
    """Windows of four micro-batches, and one batch of the same samples."""
    some = parts([4] * 8)
    whole = [[joined(group)] for group in in_groups(some, 4)]
    apart = fit(name, Parts(), PartsData(in_groups(some, 1)), accumulate_grad_batches=4)
    return difference(apart, fit(name, Parts(), PartsData(whole)))


# -- 2 ranks = 1, 3 ranks with uneven batches


class RankRun(NamedTuple):
    """A run of several ranks: for each batch a part for each rank; perhaps with prior weights."""

    ranks: int
    batches: list[list[Part]]
    even: bool
    prior: bool = False

    def windows(self, name: str) -> tuple[int, ...]:
        """By how many micro-batches to accumulate, in a run each.

        Where parts are unequal, a mean over all of them is none of the means over the ranks.
        """
        return (1, 2) if self.even and name not in REFUSES else (1,)


# Batches of three tasks on three ranks: one task a rank; a task that no rank has; all tasks.
PRESENT = (
    [("two",), ("one", "three"), ("three",)],
    [("one",), ("one", "two"), ("two",)],
    [TASKS, TASKS, ("one", "two")],
)


@cache
def rank_run(column: str) -> RankRun:
    """The run of a column."""
    if column == "2 ranks = 1":
        return RankRun(2, in_groups(parts([4] * 8), 2), even=True)
    if column == "2 ranks, prior = 1, in losses":
        return RankRun(2, in_groups(parts([4] * 8), 2), even=True, prior=True)
    sizes = [2, 5, 3, 1, 6, 4, 3, 2, 5]
    present = [tasks for batch in PRESENT for tasks in batch]
    return RankRun(3, in_groups(parts(sizes, present), 3), even=False)


@cache
def trained_by_ranks(column: str, often: bool) -> dict[tuple[str, int], tuple[Tensor, float]]:
    """For each rule and window the first rank's parameters, and how far the others' are.

    Args:
        column: the equivalence.
        often: whether to run one rule a route, or all others.
    """
    names = ONE_A_ROUTE if often else ALL_OTHERS
    return results_of("ddp_equivalence", column, *names, ranks=rank_run(column).ranks)


class Joint(Parts):
    """All ranks' parts at once: features that were cut apart are named as they were before."""

    def features_of(self, x: Tensor) -> Tensor:
        self.features = super().features_of(x)
        return self.features

    def shared_features(self) -> Tensor:
        return self.features


def ranks_and_one(column: str, name: str) -> float:
    """Several ranks, and one rank that takes each task's mean over the ranks that have it."""
    run, worst = rank_run(column), 0.0
    for accumulate in run.windows(name):
        found, apart = trained_by_ranks(column, name in ONE_A_ROUTE)[name, accumulate]
        if name in OF_PARTS:
            batches = [[part] for batch in run.batches for part in batch]
            settings = {"accumulate_grad_batches": accumulate * run.ranks}
        else:
            batches = [[joined(batch)] for batch in run.batches] if run.even else run.batches
            settings = {"accumulate_grad_batches": accumulate}
        module, rule = Joint(), None
        if run.prior:
            module, rule = with_prior_in_losses(module), rule_of_losses(name)
        one = parameters(fit(name, module, PartsData(batches), weighting=rule, **settings))
        worst = max(worst, apart, float((found - one).abs().max()))
    return worst


# -- prior weights = losses that are multiplied by them


def with_prior_in_losses(module: Parts) -> Parts:
    """The module, whose losses are multiplied by the prior weights."""
    module.scales = {task: c * PRIOR.get(task, 1.0) for task, c in module.scales.items()}
    return module


def rule_of_losses(name: str) -> Weighting | None:
    """A rule without prior weights, for losses that are multiplied by them."""
    return IN_LOSSES.get(name, RULES[name])()


def prior_and_in_losses(name: str) -> float:
    """Prior weights, and losses that are multiplied by them, of tasks that come and go."""
    some, worst = parts([4] * 6, [TASKS, TASKS[1:], TASKS[::2]]), 0.0
    for settings in ({},) if name in REFUSES else ({}, {"accumulate_grad_batches": 2}):
        data = PartsData(in_groups(some, 1))
        prior = fit(name, Parts(), data, weighting=RULES[name](prior=PRIOR), **settings)
        scaled = with_prior_in_losses(Parts())
        fit(name, scaled, data, weighting=rule_of_losses(name), **settings)
        worst = max(worst, difference(prior, scaled))
    return worst


# -- resume = uninterrupted

RESUMED_AT = 7
"""After more than half of the steps, so that there is one checkpoint."""


def resumed_and_not(name: str) -> float:
    """A run that goes on from a checkpoint in the middle of an epoch, at a batch without tasks."""
    some = parts([4] * 12)
    # The first batch, and the first one after the checkpoint, have one task only.
    for position, tasks in ((0, {"three"}), (RESUMED_AT, {"two"}), (9, {"one", "three"})):
        some[position] = {n: v for n, v in some[position].items() if n in {"x"} | tasks}

    def train(folder: str, ckpt_path: str | None = None) -> Parts:
        saver = ModelCheckpoint(
            folder,
            filename="middle",
            every_n_train_steps=RESUMED_AT,
        )
        return fit(
            name,
            Parts(torch.optim.Adam, lr=0.01),
            StreamData.of(in_groups(some, 1)),
            saver,
            ckpt_path=ckpt_path,
            enable_checkpointing=True,
        )

    with tempfile.TemporaryDirectory() as folder:
        straight = train(folder)
        return difference(train(folder, f"{folder}/middle.ckpt"), straight)


# -- compiled = eager


def compiled(backend: str) -> Parts:
    """A toy whose trunk and heads are compiled on their own."""
    module = Parts()
    for part in (module.trunk, *module.heads.values()):
        part.compile(backend=backend)
    return module


def compiled_and_eager(name: str, backend: str = "aot_eager") -> float:
    """Compiled parts, also after a plain run has filled the compiler's cache, and eager ones."""
    data = PartsData(whole_batches())
    fit("none", compiled(backend), data)
    torch.compiler.reset()
    with torch._inductor.config.patch(force_disable_caches=True), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "dynamo_pgo force disabled")
        return difference(fit(name, compiled(backend), data), plain_run(name))


# -- a loss scale of 2^16 = none


class Scaled(MixedPrecision):
    """The scaler of 16-mixed precision in float32, where powers of two are exact."""

    def __init__(self) -> None:
        super().__init__("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**16))

    def forward_context(self) -> Any:
        return nullcontext()


def scaled_and_not(name: str) -> float:
    """Losses times 2^16, and gradients divided by it before the step."""
    data = PartsData(whole_batches())
    return difference(fit(name, Parts(), data, plugins=[Scaled()]), plain_run(name))


# -- absent task = removed task


class TwoOfThree(Parts):
    """Announces a task that no batch has."""


class Two(Parts):
    task_names = TASKS[1:]


WITHOUT_ONE: dict[str, Build] = {
    "FixedWeighting": lambda: FixedWeighting({"two": 2.0, "three": 1.0}),
    "DynamicTaskPriority": lambda: DynamicTaskPriority(indicators={"two": "val/two"}),
}
"""Rules whose arguments name the removed task, without it."""


def absent_and_removed(name: str) -> float:
    """The first of three tasks never comes, or does not exist."""
    data = PartsData(in_groups(parts([8] * 2, [TASKS[1:]]), 1))
    removed = fit(name, Two(), data, weighting=WITHOUT_ONE.get(name, RULES[name])())
    return difference(fit(name, TwoOfThree(), data), removed)


# -- late parameter = present from the start


class Late(Parts):
    """Layers of one, two and all tasks, which join in where a batch says so.

    Args:
        always: whether they are in the graph from the start, times zero.
    """

    def __init__(self, always: bool) -> None:
        super().__init__()
        self.late = nn.ModuleList(nn.Linear(6, 2) for _ in USERS)
        self.always = always

    def task_losses(self, batch: Sequence[Part]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        for layer, users, key in zip(self.late, USERS, LATE, strict=True):
            share = float(key in batch[0])
            if share or self.always:
                for task in users:
                    losses[task] = losses[task] + share * layer(batch[0]["x"]).square().mean()
        return losses


USERS = (TASKS[:1], TASKS[1:], TASKS)
LATE = ("late of one", "late of two", "late of all")

AT_A_LAYER: dict[str, Build] = {
    "GradNorm": lambda: GradNorm(layer="trunk.3"),
    "MGDA(last_layer)": lambda: MGDA(gradients="last_layer", layer="trunk.3"),
}
"""By default they measure at the last shared layer, which another one may become."""


def late_and_always(name: str) -> float:
    """Layers that join in during a run, in the middle of a window too, or are there throughout."""
    some = parts([4] * 6)
    for position, part in enumerate(some):
        arrived = [key for key, start in zip(LATE, (1, 2, 3), strict=True) if position >= start]
        some[position] = part | dict.fromkeys(arrived, torch.ones(()))

    def train(always: bool, **settings: Any) -> Late:
        weighting = AT_A_LAYER.get(name, RULES[name])()
        trainer = quiet_trainer(
            callbacks=[weighting] if weighting else [], max_epochs=EPOCHS, **settings
        )
        module = Late(always)
        trainer.fit(module, StreamData.of(in_groups(some, 1)))
        return module

    worst, start = 0.0, Late(always=True)
    for settings in ({},) if name in REFUSES else ({}, {"accumulate_grad_batches": 2}):
        late = train(always=False, **settings)
        for layer, before in zip(late.late, start.late, strict=True):
            assert not torch.allclose(layer.weight, before.weight, atol=1e-4)
        worst = max(worst, difference(late, train(always=True, **settings)))
    return worst


# -- parameter hook = plain's hook


class Times(torch.autograd.Function):
    """The identity, whose gradient is multiplied by a factor."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.saved_tensors[0], None


MASK = (torch.arange(96).view(16, 6) % 3 > 0).float()
TWICE, REVERSED = torch.tensor(2.0), torch.tensor(-1.0)


class Hooked(Parts):
    """Hooks that mask a shared weight, double a head's and reverse the features' gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk[0].weight.register_hook(lambda gradient: gradient * MASK)
        self.heads["one"].weight.register_hook(lambda gradient: gradient * TWICE)

    def features_of(self, x: Tensor) -> Tensor:
        features = super().features_of(x)
        if features.requires_grad:
            features.register_hook(lambda gradient: gradient * REVERSED)
            features.retain_grad()
        return features


class BuiltIn(Parts):
    """The same factors as nodes of the graph."""

    def features_of(self, x: Tensor) -> Tensor:
        masked = {"0.weight": Times.apply(self.trunk[0].weight, MASK)}
        features = torch.func.functional_call(self.trunk, masked, (x,))
        return Times.apply(features, REVERSED)

    def head_of(self, task: str, features: Tensor) -> Tensor:
        factor = TWICE if task == "one" else torch.ones(())
        weight = Times.apply(self.heads[task].weight, factor)
        return nn.functional.linear(features, weight, self.heads[task].bias)


def hooked_and_built_in(name: str) -> float:
    """Hooks on gradients, and the same factors as part of the network."""
    data = PartsData(whole_batches())
    return difference(fit(name, Hooked(), data), fit(name, BuiltIn(), data))


# -- interrupted and fitted again = fresh


class Breaking(Parts):
    """Breaks off once in the middle of an accumulation window, if it is told how."""

    reason: BaseException | None = None

    def task_losses(self, batch: Sequence[Part]) -> dict[str, Tensor]:
        trainer = self.trainer
        if self.reason and trainer.current_epoch == 1 and trainer.fit_loop.batch_idx == 3:
            reason, self.reason = self.reason, None
            raise reason
        return super().task_losses(batch)


def broken_off(
    weighting: Weighting | None, reason: BaseException, data: Any, **settings: Any
) -> Parts:
    """A module whose training with this weighting has broken off, with fresh parameters."""
    module = Breaking()
    module.reason = reason
    callbacks = [weighting] if weighting else []
    trainer = quiet_trainer(callbacks=callbacks, max_epochs=EPOCHS, **settings)
    try:
        trainer.fit(module, data)
    except (SystemExit, RuntimeError):
        assert module.reason is None
    module.load_state_dict(Parts().state_dict())
    return module


def refitted_and_fresh(name: str) -> float:
    """A run after one that broke off, with a new weighting or the same, and one of a fresh module.

    What the same weighting takes along is its memory, as a checkpoint would hold it.
    """
    data = PartsData(in_groups(parts([4] * 4), 1))
    settings = {} if name in REFUSES else {"accumulate_grad_batches": 2}
    module = broken_off(RULES[name](), KeyboardInterrupt(), data, **settings)
    anew = difference(fit(name, module, data, **settings), fit(name, Parts(), data, **settings))
    weighting, twin = RULES[name](), RULES[name]()
    module = broken_off(weighting, RuntimeError("broken off"), data, **settings)
    if weighting and twin:
        twin.load_state_dict(copy.deepcopy(weighting.state_dict()))
    again = fit(name, module, data, weighting=weighting, **settings)
    fresh = fit(name, Parts(), data, weighting=twin, **settings)
    return max(anew, difference(again, fresh))


# -- after `lr_find` = without


def searched_and_not(name: str) -> float:
    """A search for a learning rate before the run, by the same Trainer and weighting."""
    data = PartsData(whole_batches())
    module, weighting = Parts(), RULES[name]()
    with tempfile.TemporaryDirectory() as folder:
        trainer = quiet_trainer(
            callbacks=[weighting] if weighting else [],
            max_epochs=EPOCHS,
            default_root_dir=folder,
        )
        Tuner(trainer).lr_find(
            module, datamodule=data, num_training=6, update_attr=False, early_stop_threshold=None
        )
        trainer.fit(module, data)
    return difference(module, plain_run(name))


MORE_PARTS = dict.fromkeys(
    OF_PARTS, "its matrix is of products between parts, which are the micro-batches of all ranks"
)
AS_PARTS = dict.fromkeys(OF_PARTS, "ranks = micro-batches: both are the parts of its matrix")

COMPILED_ANEW = dict.fromkeys(
    [n for n, build in RULES.items() if isinstance(build(), (GradientWeighting, GradNorm))],
    "compiled anew with `torch._inductor.config.force_disable_caches`, which the error asks for",
)
BEGINS_ANEW = dict.fromkeys(
    ["DBMTL", "ExcessMTL", "MaxGNR", "MaxGNR(features)", "MoCo"],
    "its averages begin anew where other parameters are measured",
)

EQUIVALENCES: dict[str, Equivalence] = {
    "2 ranks = 1": Equivalence(
        lambda name: ranks_and_one("2 ranks = 1", name), 1e-5, notes=AS_PARTS
    ),
    "3 uneven ranks = 1": Equivalence(
        lambda name: ranks_and_one("3 uneven ranks = 1", name),
        1e-5,
        {"NTKMTL": "its parts are other samples, as the batches of ranks are no multiples of them"},
        notes=AS_PARTS,
    ),
    "prior = in losses": Equivalence(
        prior_and_in_losses, 1e-5, {"none": "without a weighting there is no prior"}
    ),
    "2 ranks, prior = 1, in losses": Equivalence(
        lambda name: ranks_and_one("2 ranks, prior = 1, in losses", name),
        1e-5,
        {"none": "without a weighting there is no prior"},
        notes=AS_PARTS,
    ),
    "n micro-batches = 1": Equivalence(micro_batches_and_one, 1e-5, MORE_PARTS | REFUSES),
    "resumed = uninterrupted": Equivalence(resumed_and_not, 0.0),
    "compiled = eager": Equivalence(compiled_and_eager, 1e-6, notes=COMPILED_ANEW),
    "loss scale 2^16 = 1": Equivalence(scaled_and_not, 0.0),
    "absent task = removed": Equivalence(
        absent_and_removed,
        1e-6,
        {"RandomWeighting": "it draws an absent task's number too"},
    ),
    "late parameter = always": Equivalence(late_and_always, 2e-6, BEGINS_ANEW),
    "hook = built in": Equivalence(hooked_and_built_in, 1e-6),
    "interrupted, again = fresh": Equivalence(refitted_and_fresh, 0.0),
    "after lr_find = without": Equivalence(searched_and_not, 0.0),
}
