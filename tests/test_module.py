"""What the module logs and keeps, and what happens to it when a run ends badly."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from torch import Tensor

from lightning_mtl.callbacks import (
    MGDA,
    EqualWeighting,
    FixedWeighting,
    GradientNoiseMonitor,
    GradNorm,
    UncertaintyWeighting,
)
from tests.support.toy import (
    TASKS,
    PartlyLabelled,
    Toy,
    logged,
    parameters,
    quiet_trainer,
    toy_loader,
)
from tests.support.weightings import EXAMPLES

WEIGHTS = dict(zip(TASKS, (0.5, 2.0, 1.0), strict=True))


def test_raw_and_weighted_losses_are_logged_apart():
    batch = next(iter(toy_loader()))
    raw = {task: loss.item() for task, loss in Toy().task_losses(batch).items()}
    (row,) = logged(Toy(), FixedWeighting(WEIGHTS), max_steps=1)
    for task in TASKS:
        assert row[f"train/loss/{task}"] == pytest.approx(raw[task])
        assert row[f"train/weight/{task}"] == WEIGHTS[task]
    assert row["train/total_loss"] == pytest.approx(sum(raw.values()))
    weighted = sum(WEIGHTS[task] * raw[task] for task in TASKS)
    assert row["train/weighted_loss"] == pytest.approx(weighted)


@pytest.mark.parametrize("weighting", [EqualWeighting, MGDA, GradNorm])
def test_a_window_is_logged_as_its_mean(weighting):
    means = {}
    with torch.no_grad():
        module = Toy()
        batches = [
            module.task_losses(batch) for batch, _ in zip(toy_loader(), range(4), strict=False)
        ]
        means = {task: float(sum(b[task] for b in batches)) / 4 for task in TASKS}
    rows = logged(Toy(), weighting(), accumulate_grad_batches=4, limit_train_batches=4)
    for task in TASKS:
        assert rows[-1][f"train/loss/{task}"] == pytest.approx(means[task], rel=1e-5)


@pytest.mark.parametrize("weighting", [EqualWeighting, MGDA, GradNorm, UncertaintyWeighting])
def test_absent_tasks_have_neither_loss_nor_weight_in_the_log(weighting, tmp_path: Path):
    module = PartlyLabelled()
    present: list[set[str]] = []
    weights: list[set[str]] = []
    inner = module.task_losses

    def watch(batch: Sequence[Tensor]) -> dict[str, Tensor]:
        losses = inner(batch)
        present.append(set(losses))
        return losses

    module.task_losses = watch
    module.on_before_optimizer_step = lambda optimizer: weights.append(set(module.task_weights))
    logger = CSVLogger(tmp_path, name="", version="run")
    trainer = quiet_trainer(callbacks=[weighting()], logger=logger, log_every_n_steps=1)
    trainer.fit(module, toy_loader())
    assert weights == present
    assert len({frozenset(tasks) for tasks in present}) > 1
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    columns = rows[0].split(",")
    for row, tasks in zip(rows[1:], present, strict=True):
        cells = dict(zip(columns, row.split(","), strict=True))
        for kind in ("loss", "weight"):
            found = {task for task in TASKS if cells[f"train/{kind}/{task}"]}
            assert found == tasks


class Failing(Toy):
    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        if self.global_step == 2:
            raise RuntimeError("no more")
        return super().task_losses(batch)


def test_a_run_that_failed_leaves_no_weighting_behind():
    module = Failing()
    with pytest.raises(RuntimeError, match="no more"):
        quiet_trainer(callbacks=[FixedWeighting(WEIGHTS)]).fit(module, toy_loader())
    quiet_trainer(max_steps=2).fit(module, toy_loader())
    assert {task: float(weight) for task, weight in module.task_weights.items()} == dict.fromkeys(
        TASKS, 1.0
    )


def test_a_module_may_be_trained_again_with_other_tasks_frozen():
    module = Toy()
    quiet_trainer(callbacks=[MGDA()], max_steps=2).fit(module, toy_loader())
    module.trunk[0].requires_grad_(False)
    frozen = module.trunk[0].weight.clone()
    quiet_trainer(callbacks=[MGDA()], max_steps=2).fit(module, toy_loader())
    assert torch.equal(module.trunk[0].weight, frozen)


def test_shared_parameters_are_known_while_training():
    module = Toy()
    found: list[list[Tensor]] = []
    module.on_before_optimizer_step = lambda optimizer: found.append(module.shared_parameters())
    quiet_trainer(max_steps=1).fit(module, toy_loader())
    assert found == [list(module.trunk.parameters())]


class OwnStep(Toy):
    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        return sum(self.task_losses(batch).values())


def test_a_training_step_of_ones_own_is_an_error_that_says_where_its_work_belongs():
    with pytest.raises(RuntimeError, match=r"`OwnStep.training_step`.*`task_losses`"):
        quiet_trainer().fit(OwnStep(), toy_loader())


class NamesFeatures(Toy):
    """Names its shared features itself; the stale ones are those of the step before."""

    stale = False

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []
        self.trunk.register_forward_hook(lambda module, inputs, output: self.seen.append(output))

    def shared_features(self) -> Tensor:
        return self.seen[-2 if self.stale and len(self.seen) > 1 else -1]


def test_named_features_measure_what_the_cut_does():
    weights = []
    for kind in (Toy, NamesFeatures):
        module = kind()
        quiet_trainer(callbacks=[MGDA(gradients="features")], max_steps=3).fit(module, toy_loader())
        weights.append([float(module.task_weights[task]) for task in TASKS])
    assert weights[0] == pytest.approx(weights[1], abs=1e-6)


class StaleFeatures(NamesFeatures):
    stale = True


def test_features_that_no_loss_reaches_are_an_error_that_says_what_to_keep():
    with pytest.raises(ValueError, match=r"one of shape \(4, 8\) that none of them reaches"):
        quiet_trainer(callbacks=[MGDA(gradients="features")]).fit(StaleFeatures(), toy_loader())


@pytest.mark.parametrize("losses", [None, [], {}, torch.ones(3), [torch.ones(())]])
def test_what_is_no_dict_of_losses_is_shown(losses):
    module = Toy()
    module.task_losses = lambda batch: losses
    with pytest.raises(TypeError, match=r"`Toy.task_losses` should return a dict .* Found"):
        quiet_trainer().fit(module, toy_loader())


@pytest.mark.parametrize("loss", [1.5, None, torch.ones(1), torch.ones(2, 2)])
def test_what_is_no_scalar_is_named_with_its_task(loss):
    module = Toy()
    module.task_losses = lambda batch: {"one": loss}
    with pytest.raises(ValueError, match=r"one scalar tensor per task. Found .* `one`"):
        quiet_trainer().fit(module, toy_loader())


@pytest.mark.parametrize("strategy", [FSDPStrategy, DeepSpeedStrategy, ModelParallelStrategy])
@pytest.mark.parametrize("weighting", [MGDA, GradNorm])
def test_strategies_that_shard_are_refused_with_both_ways_out(strategy, weighting):
    # Building some of them needs a GPU or another package; their kind is all that matters.
    sharding = strategy.__new__(strategy)
    with pytest.raises(ValueError, match=rf"{strategy.__name__}.*weighting of the losses.*\"ddp\""):
        weighting()._check_strategy(sharding)
    EqualWeighting()._check_strategy(sharding)
    with pytest.raises(ValueError, match=rf"`GradientNoiseMonitor`.*{strategy.__name__}"):
        GradientNoiseMonitor().setup(SimpleNamespace(strategy=sharding), Toy(), "fit")


def test_one_batch_of_every_loop_runs():
    trainer = quiet_trainer(fast_dev_run=True, callbacks=[GradNorm()])
    trainer.fit(Toy(), toy_loader())
    assert trainer.global_step == 1


class OwnBackward(Precision):
    """Runs the backward pass without the module, as DeepSpeed's does."""

    def backward(self, tensor: Tensor, model, optimizer, *args, **kwargs) -> None:
        tensor.backward()


@pytest.mark.parametrize("name", ["EqualWeighting", "UncertaintyWeighting", "DWA", "GeometricLoss"])
def test_a_backward_pass_of_the_strategys_own_trains_and_logs_the_same(name: str):
    trained = []
    for plugins in ([], [OwnBackward()]):
        module = Toy()
        rows = logged(module, EXAMPLES[name](), plugins=plugins, max_epochs=2)
        trained.append((parameters(module), rows[-1]))
    (expected, wanted), (found, seen) = trained
    torch.testing.assert_close(found, expected)
    assert seen == pytest.approx(wanted)


@pytest.mark.parametrize(("name", "accumulate"), [("MGDA", 1), ("MoCo", 1), ("GeometricLoss", 2)])
def test_a_backward_pass_of_the_strategys_own_is_refused_where_it_would_be_wrong(name, accumulate):
    with pytest.raises(
        RuntimeError,
        match=rf"`{name}` should write the gradients in the module's own backward pass",
    ):
        quiet_trainer(
            callbacks=[EXAMPLES[name]()],
            plugins=[OwnBackward()],
            accumulate_grad_batches=accumulate,
        ).fit(Toy(), toy_loader())
