"""Weights from one more forward pass at randomly moved parameters."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.strategies import FSDPStrategy
from torch import Tensor, nn
from torchmetrics import MeanMetric

from lightning_mtl.callbacks import MGDA, EqualWeighting, GramianWeighting, MaxGNR, UPGrad
from lightning_mtl.engine.probing.averages import gramian
from lightning_mtl.weightings.bases.gramians import probe_memory, probed
from tests.support.convolutions import GRAMIAN_RULES, Recorded, few_by_default, gradients_of
from tests.support.ranks import results_of
from tests.support.toy import (
    TASKS,
    Graded,
    PartlyLabelled,
    Toy,
    parameters,
    quiet_trainer,
    straight_and_resumed,
    toy_data,
    toy_loader,
    weights,
)

WITHOUT = ("MaxGNR", "MoDo", "SDMGrad")
"""Rules that ask for more than the products of whole gradients."""
every_rule = pytest.mark.parametrize(
    "name", few_by_default(name for name in GRAMIAN_RULES if name not in WITHOUT)
)


@pytest.fixture
def early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules are solved from the second probe on."""
    monkeypatch.setattr(probe_memory, "WARM_UP", 2)


def trained(module: Toy, rule: Any, steps: int = 5, batch_size: int = 8, **settings: Any) -> Toy:
    trainer = quiet_trainer(callbacks=[rule], max_steps=steps, max_epochs=-1, **settings)
    trainer.fit(module, toy_loader(batch_size))
    return module


class RecordedToy(Recorded, Toy):
    """A toy that compares its gradients with those of the logged weights."""

    weights_heads = True


@every_rule
@pytest.mark.usefixtures("early")
def test_logged_weights_are_those_of_trunk_and_heads(name: str) -> None:
    module = trained(RecordedToy(lr=0.01), GRAMIAN_RULES[name](gradients="probes"))
    assert max(module.errors) < 1e-5
    moved = (torch.stack(module.applied) - 1).abs().amax(1) > 1e-4
    assert not moved[:2].any()
    # In their order a pair of tasks may have no conflict.
    assert moved[2:].all() or name in ("PCGrad", "GradVac")


@pytest.mark.parametrize("name", WITHOUT)
def test_rules_that_need_more_than_products_refuse_probes(name: str) -> None:
    with pytest.raises(ValueError, match=rf"`{name}\(gradients=\)`.*probes"):
        GRAMIAN_RULES[name](gradients="probes")


def test_weights_are_one_until_twenty_probes_were_made() -> None:
    module = trained(RecordedToy(lr=0.01), MGDA(gradients="probes"), steps=22)
    moved = [bool((row - 1).abs().max() > 1e-4) for row in module.applied]
    assert moved == [step >= 20 for step in range(22)]


class Ones(GramianWeighting):
    """Weights that are always 1, from the first probe on."""

    def weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        return torch.ones_like(losses)


class Traceable(Toy):
    """All that a forward pass may leave behind: statistics, random numbers, metrics and logs."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk.append(nn.BatchNorm1d(8))
        self.trunk.append(nn.Dropout(0.5))
        self.mean = MeanMetric()
        self.logged: list[float] = []

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        self.mean.update(losses["one"].detach())
        self.log("train/mean", self.mean, on_epoch=True, on_step=False)
        self.log("train/drawn", torch.rand(()), on_step=True)
        return losses

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.logged.append(float(self.trainer.callback_metrics["train/drawn"]))


@pytest.mark.usefixtures("early")
def test_probes_leave_no_trace() -> None:
    found = []
    for rule in (EqualWeighting(), Ones(gradients="probes")):
        module = Traceable()
        trainer = quiet_trainer(callbacks=[rule], max_epochs=2)
        trainer.fit(module, toy_loader(8))
        logged = {key: float(value) for key, value in trainer.callback_metrics.items()}
        found.append((module, logged, torch.rand(3)))
    (one, logs, drawn), (other, other_logs, other_drawn) = found
    assert torch.equal(parameters(one), parameters(other))
    for before, after in zip(one.buffers(), other.buffers(), strict=True):
        assert torch.equal(before, after)
    assert one.logged == other.logged
    assert torch.equal(drawn, other_drawn)
    # The weighted loss is summed in float64.
    assert {key: other_logs[key] for key in logs} == pytest.approx(logs, rel=1e-7)


class Wide(Toy):
    """A toy in float64."""

    def __init__(self) -> None:
        super().__init__(lr=0.02)
        self.double()

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Any]:
        return super().task_losses([part.double() for part in batch])


class Counted(Wide):
    """Some samples have no label, and each loss comes with the number of those that have."""

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Any]:
        x, *targets = (part.double() for part in batch)
        features = self.trunk(x)
        losses = {}
        for task, target in zip(TASKS, targets, strict=True):
            errors = (self.heads[task](features) - target).square().mean(1)
            labelled = errors[target[:, 0] > self.level(task)]
            if len(labelled):
                losses[task] = (self.scales[task] * labelled.mean(), float(len(labelled)))
        return losses

    def level(self, task: str) -> float:
        return -0.2


class Rare(Counted):
    """Few samples have a label of the first task, so that some batches have none."""

    def level(self, task: str) -> float:
        return 0.8 if task == "one" else -0.9


@pytest.mark.usefixtures("early")
@pytest.mark.parametrize("network", [Wide, Counted, Rare])
def test_two_half_batches_are_one_batch(network: type[Toy]) -> None:
    rules = MGDA(gradients="probes"), MGDA(gradients="probes")
    whole = trained(network(), rules[0], batch_size=8)
    halves = trained(network(), rules[1], batch_size=4, accumulate_grad_batches=2)
    torch.testing.assert_close(parameters(halves), parameters(whole), rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(weights(halves), weights(whole), rtol=1e-6, atol=1e-8)
    assert (weights(whole) - 1).abs().max() > 1e-3


class LateTask(Toy):
    """The first batches have one task only, of which no parameter is known to be shared."""

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        return losses if self.trainer.global_step > 1 else {"one": losses["one"]}


class Coming(Recorded, PartlyLabelled, Toy):
    """Tasks that come and go."""

    weights_heads = True


@pytest.mark.usefixtures("early")
@pytest.mark.parametrize("name", few_by_default(["MGDA", "UPGrad", "GradVac"]))
def test_absent_tasks_keep_their_averages(name: str) -> None:
    rule = GRAMIAN_RULES[name](gradients="probes")
    module = trained(Coming(lr=0.01), rule, steps=20)
    assert max(module.errors) < 1e-5
    counts = rule.memory.tensors["probe_count"]
    assert counts.min() > 2 and counts.min() < 20


@pytest.mark.usefixtures("early")
def test_tasks_that_come_late_are_probed_from_then_on() -> None:
    rule = UPGrad(gradients="probes")
    trained(LateTask(), rule, steps=6)
    assert rule.memory.tensors["probe_count"].tolist() == [4, 4, 4]


@pytest.mark.usefixtures("early")
def test_a_frozen_trunk_is_not_probed() -> None:
    module = Toy()
    module.trunk.requires_grad_(False)
    rule = MGDA(gradients="probes")
    trained(module, rule)
    assert "probe_moment" not in rule.memory.tensors


@pytest.mark.usefixtures("early")
@pytest.mark.parametrize("every_n_steps", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_a_run_resumed_within_an_epoch_goes_on_to_the_bit(
    every_n_steps: int, tmp_path: Path
) -> None:
    straight, resumed = straight_and_resumed(
        lambda: MGDA(gradients="probes", every_n_steps=every_n_steps), tmp_path
    )
    assert torch.equal(parameters(straight), parameters(resumed))
    assert torch.equal(weights(straight), weights(resumed))
    assert (weights(straight) - 1).abs().max() > 1e-3


class Branches(Graded):
    """Each two tasks share a layer, beside a trunk of all three, and one layer is frozen late."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.pairs = nn.ModuleList(nn.Linear(6, 2) for _ in TASKS)

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        for index, task in enumerate(TASKS):
            for other in (index, (index + 1) % 3):
                losses[task] = losses[task] + self.pairs[other](batch[0]).square().mean()
        return losses


class BranchesApart(Branches):
    """The same, where each batch lacks one task, so that pairs are seen apart."""

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        del losses[TASKS[self.trainer.global_step % 3]]
        return losses


@pytest.mark.usefixtures("early")
@pytest.mark.parametrize("network", [pytest.param(Branches, marks=pytest.mark.slow), BranchesApart])
def test_layers_of_some_tasks_are_probed_alike_after_resuming(
    network: type[Graded], tmp_path: Path
) -> None:
    straight, resumed = straight_and_resumed(lambda: UPGrad(gradients="probes"), tmp_path, network)
    assert torch.equal(parameters(straight), parameters(resumed))


def test_averages_are_in_the_checkpoint() -> None:
    rule = MGDA(gradients="probes")
    trained(Toy(), rule)
    again = MGDA(gradients="probes")
    again.load_state_dict(rule.state_dict())
    for name in ("probe_moment", "probe_weight", "probe_count", "probe_steps"):
        assert torch.equal(again.memory.tensors[name], rule.memory.tensors[name])


class OneCall(Toy):
    """A toy whose losses come out of one call, which may be compiled."""

    def __init__(self, compiled: bool) -> None:
        super().__init__()
        self.whole = torch.compile(self.predict, backend="eager") if compiled else self.predict

    def predict(self, x: Tensor) -> list[Tensor]:
        features = self.trunk(x)
        return [head(features) for head in self.heads.values()]

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        x, *targets = batch
        predictions = zip(TASKS, self.whole(x), targets, strict=True)
        return {
            task: self.scales[task] * nn.functional.mse_loss(y, target)
            for task, y, target in predictions
        }


@pytest.mark.slow
@pytest.mark.usefixtures("early")
def test_a_network_that_was_compiled_as_a_whole_trains_as_ever() -> None:
    found = []
    for compiled in (False, True):
        rule = MGDA(gradients="probes")
        found.append((trained(OneCall(compiled), rule), rule.memory.tensors["probe_moment"]))
    torch.testing.assert_close(parameters(found[1][0]), parameters(found[0][0]))
    torch.testing.assert_close(found[1][1], found[0][1], rtol=1e-3, atol=1e-6)
    torch.compiler.reset()


@pytest.mark.parametrize(("every_n_steps", "expected"), [(1, 7), (3, 3)])
def test_probes_are_made_as_often_as_asked(
    every_n_steps: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    probe = probed.probe

    def counted(trainer: Any, module: Any, *arguments: Any) -> Any:
        made.append(module.trainer.global_step)
        return probe(trainer, module, *arguments)

    monkeypatch.setattr(probed, "probe", counted)
    rule = MGDA(gradients="probes", every_n_steps=every_n_steps)
    trained(Toy(), rule, steps=7)
    assert made == list(range(0, 7, every_n_steps))
    assert len(made) == expected == int(rule.memory.tensors["probe_count"][0])


class Searching(Toy):
    """Trained by an optimizer that evaluates the losses several times in a step."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=3)


@pytest.mark.filterwarnings("ignore:.*as those of one function")
@pytest.mark.usefixtures("early")
def test_a_step_of_several_evaluations_counts_one_probe() -> None:
    rule = MGDA(gradients="probes")
    module = trained(Searching(), rule, steps=5)
    assert parameters(module).isfinite().all()
    assert rule.memory.tensors["probe_count"].tolist() == [5, 5, 5]


@pytest.mark.parametrize("rule", [MGDA, MaxGNR])
def test_the_refusal_of_sharding_names_the_way_out(rule: type[GramianWeighting]) -> None:
    trainer = quiet_trainer()
    trainer.strategy.__class__ = FSDPStrategy
    with pytest.raises(ValueError, match=r"FSDPStrategy.*ddp") as refused:
        rule().setup(trainer, Toy(), "fit")
    assert ('`MGDA(gradients="probes")`' in str(refused.value)) == (rule is MGDA)


def test_flat_parameters_are_refused_as_nobody_can_tell_what_is_shared() -> None:
    trainer = quiet_trainer()
    trainer.strategy.__class__ = FSDPStrategy
    trainer.strategy.kwargs = {"use_orig_params": False}
    with pytest.raises(ValueError, match=r"FSDPStrategy\(use_orig_params=False\).*Leave"):
        MGDA(gradients="probes").setup(trainer, Toy(), "fit")


def cosines(matrix: Tensor) -> Tensor:
    lengths = matrix.diagonal().sqrt()
    return (matrix / lengths.outer(lengths))[tuple(torch.triu_indices(3, 3, 1))]


@pytest.mark.slow
def test_cosines_after_two_hundred_steps_are_close_to_the_exact_ones() -> None:
    errors = []
    for seed in range(8):
        module, rule = Toy(lr=0.0), MGDA(gradients="probes")
        torch.manual_seed(seed)
        trained(module, rule, steps=200, batch_size=80)
        rows = gradients_of(module, toy_data().tensors)
        joined = torch.cat([rows[n].flatten(1) for n in rows if n.startswith("trunk")], 1).double()
        memory = rule.memory.tensors
        found = gramian(memory["probe_moment"], memory["probe_weight"])
        errors.append(cosines(found.cpu()) - cosines(joined @ joined.T))
    rms = torch.stack(errors).square().mean().sqrt()
    assert rms < 0.1


@pytest.mark.slow
def test_ranks_that_share_parameters_in_any_way_train_like_one() -> None:
    one = results_of("ddp_probing", "1", ranks=1)
    two = results_of("ddp_probing", "2")
    for name, found in two.items():
        kind = name.partition(" ")[2]
        wanted = one[f"one {kind}"]
        for what in ("parameters", "weights", "moment"):
            torch.testing.assert_close(found[what], wanted[what], rtol=1e-7, atol=1e-9)
        assert (found["weights"] - 1).abs().max() > 1e-3
