"""AlternatingUpdates against loops written by hand, and under everything that the Trainer does."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler, ModelCheckpoint
from torch import Tensor
from torchmetrics import CatMetric, MeanMetric, MetricCollection

from lightning_mtl.callbacks import AlternatingUpdates
from tests.support.alternating_toy import OPTIMIZERS, TwoTrunks, built_by, literal
from tests.support.ddp_alternating import ALTERNATING, train_alternating, two_ranks
from tests.support.toy import (
    TASKS,
    PartlyLabelled,
    ResumableLoader,
    Toy,
    parameters,
    quiet_trainer,
    toy_loader,
)

STATES = ("per_group", "shared")
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS)
both_states = pytest.mark.parametrize("state", STATES)


class Single(Toy):
    task_names = ("one",)

    def task_losses(self, batch: Any) -> dict[str, Tensor]:
        return {"one": super().task_losses(batch)["one"]}


def fitted(weighting: AlternatingUpdates | None, module: Toy, **settings: Any) -> Tensor:
    callbacks = [] if weighting is None else [weighting]
    quiet_trainer(callbacks=callbacks, **({"max_epochs": 2} | settings)).fit(module, toy_loader())
    return parameters(module)


@every_optimizer
@both_states
def test_one_group_of_all_tasks_is_plain_training_to_the_bit(optimizer: str, state: str) -> None:
    build = OPTIMIZERS[optimizer]
    weighting = AlternatingUpdates(group_size=3, optimizer_state=state)
    assert torch.equal(fitted(weighting, built_by(build)), fitted(None, built_by(build)))


@every_optimizer
def test_all_modes_are_equal_for_one_task(optimizer: str) -> None:
    build = OPTIMIZERS[optimizer]
    plain = fitted(None, built_by(build, Single))
    for state in STATES:
        weighting = AlternatingUpdates(optimizer_state=state)
        assert torch.equal(fitted(weighting, built_by(build, Single)), plain)


@every_optimizer
@both_states
@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("kind", [Toy, PartlyLabelled])
def test_it_is_the_loop_of_the_paper_to_the_bit(
    kind: type[Toy], size: int, state: str, optimizer: str
) -> None:
    """A group without labels in a batch takes no step; idle heads do not even decay."""
    build = OPTIMIZERS[optimizer]
    weighting = AlternatingUpdates(group_size=size, optimizer_state=state)
    found = fitted(weighting, built_by(build, kind))
    groups = [[TASKS[k] for k in group] for group in weighting.grouping.groups()]
    twin = kind()
    literal(twin, groups, build, epochs=2, shared=state == "shared")
    assert torch.equal(found, parameters(twin))


@both_states
def test_path_length_displacement_and_exploration_are_those_of_the_loop(state: str) -> None:
    weighting = AlternatingUpdates(optimizer_state=state)
    fitted(weighting, built_by(OPTIMIZERS["Adam"]))
    groups = [[TASKS[k] for k in group] for group in weighting.grouping.groups()]
    path = literal(Toy(), groups, OPTIMIZERS["Adam"], epochs=2, shared=state == "shared")
    length = sum(float((b - a).double().norm()) for a, b in pairwise(path))
    displacement = float((path[-1] - path[0]).norm())
    logs = weighting.logs()
    assert float(logs["path_length"]) == pytest.approx(length, rel=1e-5)
    assert float(logs["displacement"]) == pytest.approx(displacement, rel=1e-5)
    assert float(logs["exploration"]) == pytest.approx(length / displacement, rel=1e-5)
    assert length > displacement


def test_the_path_need_not_be_tracked() -> None:
    tracked, free = AlternatingUpdates(), AlternatingUpdates(track_path=False)
    assert torch.equal(fitted(tracked, Toy()), fitted(free, Toy()))
    assert "path_length" in tracked.logs()
    assert "path_length" not in free.logs()


@pytest.mark.parametrize(
    "task", [TASKS[0], *(pytest.param(task, marks=pytest.mark.slow) for task in TASKS[1:])]
)
def test_the_size_of_a_loss_does_not_matter_to_adam_per_group(task: str) -> None:
    def trained(factor: float, state: str, eps: float) -> Tensor:
        module = built_by(lambda p: torch.optim.Adam(p, lr=0.01, eps=eps))
        module.scales[task] *= factor
        return fitted(AlternatingUpdates(optimizer_state=state), module)

    # A power of two changes no digit, and an eps of nothing changes no quotient.
    assert torch.equal(trained(2.0**10, "per_group", 1e-30), trained(1.0, "per_group", 1e-30))
    plain = trained(1.0, "per_group", 1e-8)
    torch.testing.assert_close(trained(1e3, "per_group", 1e-8), plain, atol=1e-3, rtol=0)
    assert float((trained(1e3, "shared", 1e-8) - plain).abs().max()) > 0.02


class Counting(Toy):
    """Metrics and logs beside the losses, and the parameters at every evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.object = MeanMetric(), MeanMetric()
        self.several = MetricCollection({"mean": MeanMetric(), "cat": CatMetric()})
        self.seen: list[Tensor] = []

    def task_losses(self, batch: Any) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        total = torch.stack(list(losses.values())).sum().detach()
        self.seen.append(total)
        self.mean.update(total)
        self.several(total)
        self.log("total", total, on_step=False, on_epoch=True)
        self.object.update(total)
        self.log_dict({"object": self.object}, on_step=False, on_epoch=True)
        return losses


@both_states
@pytest.mark.parametrize("size", [1, 2, 3])
def test_metrics_and_logs_count_once_a_batch(size: int, state: str) -> None:
    """In the pass of the first group, before any step on this batch."""
    module = Counting()
    weighting = AlternatingUpdates(size, optimizer_state=state)
    trainer = quiet_trainer(callbacks=[weighting])
    trainer.fit(module, toy_loader(samples=20))
    passes = -(-3 // size)
    first = torch.stack(module.seen[::passes])
    assert len(module.seen) == 5 * passes
    assert module.mean.update_count == 5
    torch.testing.assert_close(module.several["mean"].compute(), first.mean())
    torch.testing.assert_close(module.several["cat"].compute(), first)
    torch.testing.assert_close(trainer.callback_metrics["total"], first.mean())
    torch.testing.assert_close(trainer.callback_metrics["object"], first.mean())
    assert "log" not in vars(module)


def test_single_tasks_step_in_their_own_order() -> None:
    weighting = AlternatingUpdates(seed=3)
    recorder = Recorder(weighting)
    quiet_trainer(callbacks=[weighting, recorder], max_steps=2).fit(Toy(), toy_loader())
    assert recorder.moved == [{"trunk", task} for task in (*TASKS, *TASKS)]


class Recorder(L.Callback):
    """What each optimizer step moves, and what it does to the states of the groups."""

    def __init__(self, weighting: AlternatingUpdates) -> None:
        self.weighting = weighting
        self.moved: list[set[str]] = []
        self.changed: list[list[int]] = []

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        (optimizer,) = trainer.optimizers
        optimizer.register_step_pre_hook(lambda *_: self.before(pl_module))
        optimizer.register_step_post_hook(lambda *_: self.after(pl_module))

    def before(self, module: L.LightningModule) -> None:
        self.values = {name: p.detach().clone() for name, p in module.named_parameters()}
        self.states = [self.copied(state) for state in self.weighting._states.states]

    def after(self, module: L.LightningModule) -> None:
        moved = {n for n, p in module.named_parameters() if not torch.equal(p, self.values[n])}
        parts = {name.split(".")[1] if "heads" in name else "trunk" for name in moved}
        self.moved.append(parts)
        now = self.weighting._states.states
        same = [self.equal(old, new) for old, new in zip(self.states, now, strict=False)]
        self.changed.append([place for place, equal in enumerate(same) if not equal])

    @staticmethod
    def copied(state: dict[str, Any]) -> dict[str, Any]:
        return {n: {k: v.clone() for k, v in entry.items()} for n, entry in state.items()}

    @staticmethod
    def equal(old: dict[str, Any], new: dict[str, Any]) -> bool:
        return all(torch.equal(v, new[n][k]) for n, e in old.items() for k, v in e.items())


@both_states
def test_a_sub_step_moves_the_trunk_and_its_own_head_only(state: str) -> None:
    weighting = AlternatingUpdates(optimizer_state=state)
    recorder = Recorder(weighting)
    module = built_by(OPTIMIZERS["AdamW"])
    quiet_trainer(callbacks=[weighting, recorder]).fit(module, toy_loader())
    order = [TASKS[k] for (k,) in weighting.grouping.groups()]
    assert recorder.moved == [{"trunk", task} for task in order] * 20


def test_a_sub_step_changes_the_optimizer_state_of_its_own_group_only() -> None:
    weighting = AlternatingUpdates()
    recorder = Recorder(weighting)
    quiet_trainer(callbacks=[weighting, recorder]).fit(built_by(OPTIMIZERS["Adam"]), toy_loader())
    # In the first batch there is nothing to change yet.
    assert recorder.changed[3:] == [[0], [1], [2]] * 19


def test_one_state_for_all_keeps_no_states_of_its_own() -> None:
    weighting = AlternatingUpdates(optimizer_state="shared")
    fitted(weighting, built_by(OPTIMIZERS["Adam"]))
    assert weighting._states.states == []


@both_states
def test_steps_and_schedulers_count_batches(state: str) -> None:
    module = Toy(torch.optim.Adam)
    optimizer = torch.optim.Adam(module.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.9)
    module.configure_optimizers = lambda: {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
    }
    trainer = quiet_trainer(callbacks=[AlternatingUpdates(optimizer_state=state)])
    trainer.fit(module, toy_loader())
    assert trainer.global_step == 20
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.9**20)


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"optimizer_state": "shared"},
        {"group_size": 2, "regroup": "epoch", "order": "random"},
        {"regroup": "step", "order": "random", "seed": 3},
        {"group_size": 3},
    ],
    ids=[
        "defaults",
        "shared state",
        "pairs drawn each epoch",
        "drawn each step",
        "groups of three",
    ],
)
def test_resuming_in_the_middle_of_an_epoch_is_exact_to_the_bit(
    settings: dict[str, Any], optimizer: str, tmp_path: Path
) -> None:
    def train(ckpt_path: Path | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        module = built_by(OPTIMIZERS[optimizer])
        weighting = AlternatingUpdates(**settings)
        saver = ModelCheckpoint(
            tmp_path, filename="middle", every_n_train_steps=53, enable_version_counter=False
        )
        trainer = quiet_trainer(
            callbacks=[weighting, saver], max_epochs=4, enable_checkpointing=True
        )
        trainer.fit(module, ResumableLoader(), ckpt_path=ckpt_path)
        return parameters(module), weighting.logs()

    straight, logs = train()
    resumed, logs_after = train(tmp_path / "middle.ckpt")
    assert torch.equal(resumed, straight)
    assert {k: float(v) for k, v in logs.items()} == {k: float(v) for k, v in logs_after.items()}


def test_accumulation_is_refused_with_a_way_out() -> None:
    trainer = quiet_trainer(callbacks=[AlternatingUpdates()], accumulate_grad_batches=2)
    with pytest.raises(
        ValueError, match=r"should have `accumulate_grad_batches=1`.*Found 2.*larger batch"
    ):
        trainer.fit(Toy(), toy_loader())


def test_a_schedule_of_accumulation_is_refused_at_the_start_by_its_name() -> None:
    module = Toy()
    scheduler = GradientAccumulationScheduler({0: 1, 2: 4})
    for callbacks in ([AlternatingUpdates(), scheduler], [scheduler, AlternatingUpdates()]):
        trainer = quiet_trainer(callbacks=callbacks, max_epochs=3)
        with pytest.raises(
            ValueError, match=r"Found a `GradientAccumulationScheduler` of \{2: 4\}. Use a larger"
        ):
            trainer.fit(module, toy_loader())
        assert trainer.global_step == 0


def test_a_schedule_that_never_accumulates_is_fine() -> None:
    scheduler = GradientAccumulationScheduler({0: 1, 2: 1})
    trainer = quiet_trainer(callbacks=[AlternatingUpdates(), scheduler])
    trainer.fit(Toy(), toy_loader())
    assert trainer.global_step == 20


def test_accumulation_that_begins_during_the_run_is_refused_as_such() -> None:
    module = Toy()
    module.on_train_epoch_start = lambda: setattr(module.trainer, "accumulate_grad_batches", 2)
    with pytest.raises(ValueError, match=r"`accumulate_grad_batches=1` in every epoch.*Found 2"):
        quiet_trainer(callbacks=[AlternatingUpdates()]).fit(module, toy_loader())


class WarmUp(Toy):
    """The warm-up of the learning rate that Lightning's documentation shows."""

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None) -> None:
        optimizer.step(closure=optimizer_closure)
        self.warm_up(optimizer)

    def warm_up(self, optimizer) -> None:
        for group in optimizer.param_groups:
            group["lr"] = self.lr * min(1.0, (self.trainer.global_step + 1) / 10)


class WarmUpOfAllGroups(WarmUp):
    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None) -> None:
        Toy.optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure)
        self.warm_up(optimizer)


def test_an_optimizer_step_that_would_train_one_group_only_is_refused_with_what_to_write() -> None:
    with pytest.raises(
        RuntimeError, match=r"`WarmUp` steps without it.*`super\(\).optimizer_step\("
    ):
        fitted(AlternatingUpdates(), WarmUp())


def test_an_optimizer_step_that_calls_that_of_the_module_trains_all_groups() -> None:
    start, module = Toy(), WarmUpOfAllGroups()
    fitted(AlternatingUpdates(), module)
    for task in TASKS:
        assert not torch.equal(module.heads[task].weight, start.heads[task].weight)


@both_states
@pytest.mark.parametrize(
    "settings",
    [{"precision": "bf16-mixed"}, {"gradient_clip_val": 0.1}],
    ids=["bf16-mixed", "clipped"],
)
def test_precision_and_clipping_keep_working(settings: dict[str, Any], state: str) -> None:
    start = parameters(Toy())
    trained = fitted(AlternatingUpdates(optimizer_state=state), Toy(), **settings)
    assert torch.isfinite(trained).all()
    assert not torch.equal(trained, start)


def test_every_group_is_clipped_for_itself() -> None:
    weighting = AlternatingUpdates(optimizer_state="shared")
    module = built_by(lambda p: torch.optim.SGD(p, lr=1.0))
    trainer = quiet_trainer(callbacks=[weighting], gradient_clip_val=1e-3, max_steps=1)
    trainer.fit(module, toy_loader())
    length = float(weighting.logs()["path_length"])
    # Three steps, each as long as the clip; the heads take a share of it.
    assert 1e-3 < length <= 3e-3


def test_weights_are_one_and_groups_are_logged() -> None:
    weighting = AlternatingUpdates(group_size=2)
    module = Toy()
    trainer = quiet_trainer(callbacks=[weighting])
    trainer.fit(module, toy_loader())
    assert {task: float(weight) for task, weight in module.task_weights.items()} == dict.fromkeys(
        TASKS, 1.0
    )
    logged = trainer.logged_metrics
    assert sorted(float(logged[f"train/group/{task}"]) for task in TASKS) == [0.0, 0.0, 1.0]
    losses = sum(float(logged[f"train/loss/{task}"]) for task in TASKS)
    assert float(logged["train/total_loss"]) == pytest.approx(losses, rel=1e-5)


@both_states
def test_a_task_that_comes_late_may_show_more_to_be_shared(state: str) -> None:
    module = built_by(OPTIMIZERS["Adam"], TwoTrunks)
    weighting = AlternatingUpdates(optimizer_state=state)
    assert torch.isfinite(fitted(weighting, module)).all()
    places = {name for name in weighting.state_dict()["origin"] if name.startswith("side")}
    assert places == {"side.0.weight", "side.0.bias"}


@pytest.mark.parametrize("name", ALTERNATING)
def test_two_ranks_equal_one(name: str) -> None:
    one = train_alternating(name, devices=1, batch_size=8)
    torch.testing.assert_close(two_ranks()[name], one, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ALTERNATING)
def test_ranks_stay_alike_when_they_have_different_tasks(name: str) -> None:
    assert two_ranks()[f"replicas {name}"] == 0.0


def test_two_ranks_rest_where_none_has_the_tasks_of_a_group() -> None:
    one = train_alternating("absent", devices=1, batch_size=8)
    torch.testing.assert_close(two_ranks()["absent"], one, atol=1e-5, rtol=1e-4)
