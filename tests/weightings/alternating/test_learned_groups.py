"""Training with groups by affinity and by conflicts, against loops written by hand."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from lightning_mtl.callbacks import AlternatingUpdates
from lightning_mtl.weightings.alternating.groupings.affinity_groups import AffinityGroups
from lightning_mtl.weightings.alternating.groupings.conflict_groups import ConflictGroups
from tests.support.alternating_toy import OPTIMIZERS, TwoTrunks, built_by
from tests.support.learned_groups import Planted, train_by_affinity, train_by_conflicts
from tests.support.toy import (
    TASKS,
    PartlyLabelled,
    ResumableLoader,
    Toy,
    parameters,
    quiet_trainer,
    toy_loader,
)

AFFINITY: dict[str, Any] = {
    "regroup": "affinity",
    "affinity_decay": 0.2,
    "affinity_warm_up": 6,
    "seed": 0,
}
CONFLICTS: dict[str, Any] = {
    "regroup": "conflicts",
    "conflict_tolerance": 0.0,
    "conflict_every_n_steps": 4,
    "conflict_decay": 0.5,
}
both = pytest.mark.parametrize("settings", [AFFINITY, CONFLICTS], ids=["affinity", "conflicts"])
kinds = pytest.mark.parametrize("kind", [Toy, PartlyLabelled])


def fitted(weighting: AlternatingUpdates, module: Toy, **settings: Any) -> Tensor:
    quiet_trainer(callbacks=[weighting], **settings).fit(module, toy_loader())
    return parameters(module)


@kinds
def test_training_by_affinity_is_the_loop_by_hand(kind: type[Toy]) -> None:
    weighting = AlternatingUpdates(**AFFINITY)
    found = fitted(weighting, built_by(OPTIMIZERS["Adam"], kind))
    twin = kind()
    trained = train_by_affinity(twin, OPTIMIZERS["Adam"], epochs=1, decay=0.2, warm_up=6)
    grouping = weighting.grouping
    assert isinstance(grouping, AffinityGroups)
    assert grouping.groups() == trained.groups[-1]
    torch.testing.assert_close(grouping.affinity.values, trained.matrix, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(found, parameters(twin), atol=1e-6, rtol=1e-5)


@kinds
def test_training_by_conflicts_is_the_loop_by_hand(kind: type[Toy]) -> None:
    """Momentum and decay leave idle heads alone in batches that measure, too."""
    build = OPTIMIZERS["SGD"]
    weighting = AlternatingUpdates(**CONFLICTS)
    found = fitted(weighting, built_by(build, kind))
    twin = kind()
    trained = train_by_conflicts(twin, build, epochs=1, tolerance=0.0, every=4, decay=0.5)
    grouping = weighting.grouping
    assert isinstance(grouping, ConflictGroups)
    # Entries are inner products, of sizes up to 100.
    torch.testing.assert_close(grouping.average(), trained.matrix, atol=2e-3, rtol=1e-4)
    torch.testing.assert_close(found, parameters(twin), atol=5e-6, rtol=1e-5)
    assert any(len(groups) > 1 for groups in trained.groups)


def test_tasks_of_like_targets_are_grouped_by_affinity() -> None:
    one, other = torch.tensor([1.0, 0.2, 0.0, 0.0]), torch.tensor([0.0, 0.0, -0.3, 1.0])
    module = Planted(torch.stack([one, other, 1.1 * one, 0.9 * other]))
    weighting = AlternatingUpdates(
        regroup="affinity", affinity_decay=0.1, affinity_warm_up=10, track_path=False
    )
    fitted(weighting, module)
    assert sorted(weighting.grouping.groups()) == [[0, 2], [1, 3]]


def test_tasks_of_opposed_targets_get_different_colours() -> None:
    one, other = torch.tensor([1.0, 0.2, 0.0, 0.0]), torch.tensor([0.0, 0.0, -0.3, 1.0])
    module = Planted(torch.stack([one, other, -one, 0.9 * other]))
    weighting = AlternatingUpdates(regroup="conflicts", conflict_every_n_steps=5)
    fitted(weighting, module, max_steps=11)
    (first,) = [group for group in weighting.grouping.groups() if 0 in group]
    assert 2 not in first


class Passes(torch.autograd.Function):
    """The identity, which counts the passes through it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: dict[str, int], name: str) -> Tensor:
        ctx.counts, ctx.passed = counts, name
        counts[f"forward {name}"] = counts.get(f"forward {name}", 0) + 1
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        key = f"backward {ctx.passed}"
        ctx.counts[key] = ctx.counts.get(key, 0) + 1
        return gradient, None, None


class Counted(Toy):
    """Counts passes through the first layer of the trunk, and through the heads."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}

    def task_losses(self, batch: Any) -> dict[str, Tensor]:
        x, *targets = batch
        features = self.trunk[1:](Passes.apply(self.trunk[0](x), self.counts, "trunk"))
        return {
            task: self.scales[task]
            * (Passes.apply(self.heads[task](features), self.counts, "head") - target)
            .square()
            .mean()
            for task, target in zip(TASKS, targets, strict=True)
        }


def counts_of(weighting: AlternatingUpdates, batches: int) -> tuple[int, int, int]:
    """F, B and the backward passes of single heads."""
    module = Counted()
    fitted(weighting, module, max_steps=batches)
    names = ("forward trunk", "backward trunk", "backward head")
    return tuple(module.counts[name] for name in names)


def test_groups_by_affinity_cost_one_pass_each_and_none_for_the_affinities() -> None:
    weighting = AlternatingUpdates(regroup="affinity")
    assert weighting.price == "n (F + B) + H for n groups, 2 (F + B + H) for one"
    assert counts_of(weighting, batches=5) == (5 * 3, 5 * 3, 5 * 3)


def test_a_single_group_by_affinity_costs_two_of_everything() -> None:
    weighting = AlternatingUpdates(regroup="affinity")
    weighting.grouping._group.values = torch.zeros(3, dtype=torch.long)
    assert counts_of(weighting, batches=5) == (5 * 2, 5 * 2, 5 * 2 * 3)


def test_conflicts_cost_one_pass_and_where_they_are_measured_one_for_each_task() -> None:
    weighting = AlternatingUpdates(regroup="conflicts", conflict_every_n_steps=4)
    assert weighting.price == "F + B + H / n for n groups; F + K B + H in one of 4 batches"
    # With a tolerance that no task exceeds, all of them are one group.
    weighting.grouping.tolerance = 1.0
    assert counts_of(weighting, batches=9) == (9, 6 + 3 * 3, 9 * 3)
    # Groups of one task: of 9 batches 3 are measured, and the first of these trains everything.
    weighting = AlternatingUpdates(regroup="conflicts", conflict_every_n_steps=4)
    weighting.grouping.tolerance = -1.1
    assert counts_of(weighting, batches=9) == (9, 6 + 3 * 3, 6 + 3 * 3)


class Gradients(L.Callback):
    """Which parts of the network have a gradient in the last batch that was measured."""

    def __init__(self, weighting: AlternatingUpdates) -> None:
        self.weighting = weighting
        self.parts: set[str] = set()

    def on_before_optimizer_step(self, trainer: L.Trainer, module: Any, optimizer: Any) -> None:
        if self.weighting.grouping.measures:
            names = [name for name, p in module.named_parameters() if p.grad is not None]
            self.parts = {name.split(".")["heads" in name] for name in names}


@pytest.mark.parametrize(
    ("every", "parts"),
    [(1, {"trunk", "one"}), (2, {"trunk", "side", "two"}), (3, {"side", "three"})],
)
def test_a_batch_that_measures_leaves_no_gradient_to_what_others_use(
    every: int, parts: set[str]
) -> None:
    """Each task has a colour of its own; with R batches between, that of place R - 1 measures."""
    weighting = AlternatingUpdates(regroup="conflicts", conflict_every_n_steps=every)
    weighting.grouping.tolerance = -1.1
    gradients = Gradients(weighting)
    trainer = quiet_trainer(callbacks=[weighting, gradients], max_steps=10)
    trainer.fit(built_by(OPTIMIZERS["SGD"], TwoTrunks), toy_loader())
    assert gradients.parts == parts


@both
def test_resuming_in_the_middle_of_an_epoch_is_exact_to_the_bit(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    def train(ckpt_path: Path | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        module = built_by(OPTIMIZERS["Adam"])
        weighting = AlternatingUpdates(**settings)
        saver = ModelCheckpoint(
            tmp_path, filename="middle", every_n_train_steps=13, enable_version_counter=False
        )
        trainer = quiet_trainer(callbacks=[weighting, saver], enable_checkpointing=True)
        trainer.fit(module, ResumableLoader(), ckpt_path=ckpt_path)
        return parameters(module), weighting.memory.tensors

    straight, memory = train()
    resumed, memory_after = train(tmp_path / "middle.ckpt")
    assert torch.equal(resumed, straight)
    assert memory.keys() == memory_after.keys()
    assert all(torch.equal(memory[name], memory_after[name]) for name in memory)


@pytest.mark.filterwarnings("ignore:.*as those of one function")
@both
def test_an_optimizer_that_evaluates_the_losses_again_is_judged_by_the_first(
    settings: dict[str, Any],
) -> None:
    module = built_by(lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=3))
    trained = fitted(AlternatingUpdates(**settings, optimizer_state="shared"), module, max_steps=3)
    assert torch.isfinite(trained).all()


@both
@pytest.mark.parametrize(
    "argument", [{"group_size": 2}, {"order": "random"}], ids=["size", "order"]
)
def test_what_the_grouping_finds_by_itself_may_not_be_given(
    argument: dict[str, Any], settings: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"find groups and their order by itself.*Leave both out"):
        AlternatingUpdates(regroup=settings["regroup"], **argument)


def test_groups_that_are_found_share_one_optimizer_state_by_default() -> None:
    assert AlternatingUpdates().optimizer_state == "per_group"
    assert AlternatingUpdates(regroup="affinity").optimizer_state == "shared"
    weighting = AlternatingUpdates(regroup="affinity", optimizer_state="per_group")
    assert weighting.price.endswith(", and n optimizer states of the trunk")


def test_groups_by_affinity_have_a_warm_up_of_which_short_runs_are_warned() -> None:
    assert AlternatingUpdates(regroup="affinity", affinity_warm_up=50).warm_up(5.0) == 50
    assert AlternatingUpdates(regroup="conflicts").warm_up(5.0) == 0
    assert AlternatingUpdates().warm_up(5.0) == 0


def test_a_regrouping_of_another_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"regroup=\)` should be one of .*\"affinity\".*'always'"):
        AlternatingUpdates(regroup="always")
