"""Weights from random projections of the task gradients."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from lightning_mtl.callbacks import MGDA, PCGrad, UPGrad
from lightning_mtl.engine.places.sketched import Sketched
from lightning_mtl.engine.task_output import read_output
from tests.support.convolutions import (
    GRAMIAN_RULES,
    Convolutions,
    Recorded,
    RecordedConvolutions,
    build,
    few_by_default,
)
from tests.support.ranks import results_of
from tests.support.rooms import RoomsData, small_module
from tests.support.toy import (
    PartlyLabelled,
    ResumableLoader,
    parameters,
    quiet_trainer,
    toy_loader,
    weights,
)

every_rule = pytest.mark.parametrize("name", few_by_default(GRAMIAN_RULES))
SKETCHED = "trunk.3.weight (6, 16)"


def trained(module: Convolutions, rule, steps: int = 3, **settings) -> Convolutions:
    trainer = quiet_trainer(callbacks=[rule], max_steps=steps, **settings)
    trainer.fit(module, toy_loader(8))
    return module


def hooks(module: nn.Module) -> int:
    return sum(len(part._forward_hooks) for part in module.modules())


@every_rule
def test_logged_weights_are_those_of_the_applied_gradient(name: str) -> None:
    module = trained(RecordedConvolutions(lr=1e-3), build(name))
    assert max(module.errors) < 1e-5
    # Nothing is known to be shared before the first step, which is exact.
    assert SKETCHED not in module.measured[0]
    assert all(SKETCHED in measured for measured in module.measured[1:])
    assert hooks(module) == 0


@pytest.mark.parametrize("name", few_by_default(["MoDo", "MaxGNR", "UPGrad"]))
def test_accumulated_micro_batches_are_exact(name: str) -> None:
    found = [
        trained(Convolutions(), build(name, gradients), accumulate_grad_batches=2)
        for gradients in ("sketch", "shared")
    ]
    assert torch.equal(parameters(found[0]), parameters(found[1]))


def test_more_rows_than_any_layer_has_inputs_are_exact() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        many = trained(Convolutions(), build("UPGrad", sketch_rows=40))
    (told,) = (str(each.message) for each in caught if "A sketch" in str(each.message))
    assert "more than 40 numbers for each output. Found none" in told
    torch.testing.assert_close(
        parameters(many), parameters(trained(Convolutions(), build("UPGrad", "shared")))
    )


def test_a_compiled_trunk_is_exact_and_said_to_be() -> None:
    module = Convolutions()
    module.trunk.compile(backend="eager")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trained(module, build("UPGrad"))
    assert any("Leave the trunk uncompiled" in str(each.message) for each in caught)
    exact = trained(Convolutions(), build("UPGrad", "shared"))
    torch.testing.assert_close(parameters(module), parameters(exact))


def test_a_sketch_is_drawn_anew_at_each_step_but_for_averages_of_gradients() -> None:
    seeds: dict[str, list[int]] = {}
    for name in ("MGDA", "MaxGNR"):
        rule = build(name)
        drawn = seeds.setdefault(name, [])
        prepare = rule.place.prepare

        def noted(coming, draw, prepare=prepare, drawn=drawn) -> Sequence[Tensor]:
            drawn.append(draw())
            return prepare(coming, lambda: drawn[-1])

        rule.place.prepare = noted
        trained(Convolutions(lr=1e-3), rule)
    assert len(set(seeds["MGDA"])) == len(seeds["MGDA"]) == 3
    assert len(set(seeds["MaxGNR"])) == 1


class Failing(Convolutions):
    """Runs into an error in its third step, with the layers watched."""

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        if self.trainer.global_step == 2:
            assert hooks(self) > 0
            raise RuntimeError("out of luck")
        return losses


def test_an_error_leaves_no_hooks_behind() -> None:
    module = Failing()
    with pytest.raises(RuntimeError, match="out of luck"):
        trained(module, build("MGDA"), steps=4)
    assert hooks(module) == 0


class Odd(Recorded, PartlyLabelled, Convolutions):
    """Absent tasks, a layer that nobody uses, and a frozen one."""

    def __init__(self) -> None:
        super().__init__(lr=1e-3)
        self.trunk.append(nn.Linear(8, 8))
        self.unused = nn.Linear(30, 30)
        self.trunk[0].requires_grad_(False)
        self.trunk[5].bias.requires_grad_(False)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        assert all(p.grad is None for p in self.unused.parameters())
        super().on_before_optimizer_step(optimizer)


@pytest.mark.parametrize("name", few_by_default(["MoDo", "MaxGNR", "UPGrad", "GradVac"]))
def test_absent_tasks_and_unused_and_frozen_layers(name: str) -> None:
    module = trained(Odd(), build(name), steps=10)
    assert max(module.errors) < 1e-4
    assert any(SKETCHED in measured for measured in module.measured)
    assert not any("unused" in entry for measured in module.measured for entry in measured)


def test_checkpointed_activations_change_nothing() -> None:
    plain, checkpointed = (
        trained(Convolutions(checkpointed=c), build("MGDA")) for c in (False, True)
    )
    torch.testing.assert_close(parameters(checkpointed), parameters(plain))
    torch.testing.assert_close(weights(checkpointed), weights(plain))


def test_reused_weights_watch_no_layer() -> None:
    module = trained(RecordedConvolutions(lr=1e-3), build("MGDA", every_n_steps=3), steps=8)
    assert [SKETCHED in measured for measured in module.measured] == [
        step in (3, 6) for step in range(8)
    ]
    assert max(module.errors) < 1e-5


class Attentive(Recorded, Convolutions):
    """A trunk with attention, whose weights no layer multiplies by, and a weight used twice."""

    def __init__(self) -> None:
        super().__init__(lr=1e-3)
        self.trunk = nn.ModuleDict(
            {
                "embed": nn.Linear(6, 24),
                "attend": nn.MultiheadAttention(24, 2, batch_first=True),
                "first": nn.Linear(24, 24),
                "tied": nn.Linear(24, 24),
                "last": nn.Linear(24, 8),
            }
        )

    def features(self, x: Tensor) -> Tensor:
        tokens = self.trunk["embed"](torch.stack([x, x.flip(1)], 1))
        tokens, _ = self.trunk["attend"](tokens, tokens, tokens)
        tied = self.trunk["tied"]
        x = torch.tanh(self.trunk["first"](tokens.mean(1)))
        x = torch.tanh(nn.functional.linear(tied(x), tied.weight))
        return self.trunk["last"](x)


def test_layers_that_cannot_be_sketched_are_exact() -> None:
    module = trained(Attentive(), build("MGDA"))
    assert max(module.errors) < 1e-5
    measured = module.measured[-1]
    for exact in ("attend.in_proj_weight (72, 24)", "attend.out_proj.weight (24, 24)"):
        assert f"trunk.{exact}" in measured
    assert "trunk.tied.weight (24, 24)" in measured
    assert "trunk.first.weight (24, 16)" in measured and "trunk.last.weight (8, 16)" in measured


@pytest.mark.parametrize("name", few_by_default(["MoDo", "MaxGNR", "UPGrad", "GradVac"]))
def test_a_resumed_run_draws_the_same_sketches(name: str, tmp_path: Path) -> None:
    def train(ckpt_path: Path | None = None) -> Convolutions:
        module = Convolutions(torch.optim.Adam, lr=0.01)
        saver = ModelCheckpoint(tmp_path, filename="middle", every_n_train_steps=3)
        trainer = quiet_trainer(
            callbacks=[build(name), saver], max_steps=5, enable_checkpointing=True
        )
        torch.manual_seed(0 if ckpt_path is None else 1)
        batches = ResumableLoader(toy_loader(8))
        trainer.fit(module, batches, ckpt_path=ckpt_path)
        return module

    straight = train()
    resumed = train(tmp_path / "middle.ckpt")
    assert torch.equal(parameters(straight), parameters(resumed))
    assert torch.equal(weights(straight), weights(resumed))


class Many(Convolutions):
    """Forty tasks."""

    task_names = tuple(f"task{k}" for k in range(40))

    def __init__(self) -> None:
        super().__init__(lr=1e-4)
        wide = (nn.Linear(12, 400), nn.Tanh(), nn.Linear(400, 400))
        self.trunk = nn.Sequential(*self.trunk[:5], *wide)
        self.heads = nn.ModuleDict({task: nn.Linear(400, 1) for task in self.task_names})

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        features = self.features(batch[0])
        return {task: head(features).square().mean() for task, head in self.heads.items()}


def test_rows_of_many_tasks_take_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    rows = Sketched.rows

    def noted(self, window):
        found = rows(self, window)
        held.append(sum(part.numel() for row in found for part in row))
        return found

    monkeypatch.setattr(Sketched, "rows", noted)
    trained(Many(), build("MGDA"), steps=2)
    exact, sketched = held
    assert sketched < exact / 10


@pytest.mark.parametrize("gradients", ["sketch", "probes"])
def test_arguments_are_checked(gradients: str) -> None:
    with pytest.raises(ValueError, match="sketch_rows"):
        MGDA(gradients=gradients, sketch_rows=0)
    with pytest.raises(ValueError, match="probe_decay"):
        MGDA(gradients=gradients, probe_decay=1.0)


@pytest.mark.slow
def test_two_ranks_train_like_one() -> None:
    one = results_of("ddp_sketch", "1", *GRAMIAN_RULES, ranks=1)
    two = results_of("ddp_sketch", "2", *GRAMIAN_RULES)
    for name in GRAMIAN_RULES:
        assert two[name]["distance"] == 0, name
        if name in ("MoDo", "SDMGrad", "MaxGNR"):  # to these, ranks are sub-batches
            continue
        for what in ("weights", "parameters"):
            torch.testing.assert_close(two[name][what], one[name][what], rtol=1e-9, atol=1e-12)
        assert SKETCHED in two[name]["measured"]


class Compared(L.Callback):
    """Cosines of the direction that was applied and the one from exact gradients."""

    def __init__(self, rule) -> None:
        self.rule, self.exact = rule, type(rule)()
        self.cosines: list[float] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.exact.load_state_dict(
            self.rule.state_dict() | {"tensors": self._same_order(self.rule.memory.tensors)}
        )
        losses = list(read_output("", pl_module.task_losses(batch)).losses.values())
        trunk = [p for n, p in pl_module.named_parameters() if "heads" not in n]
        grads = [torch.autograd.grad(loss, trunk, retain_graph=True) for loss in losses]
        self.rows = torch.stack([torch.cat([g.flatten() for g in row]) for row in grads]).double()
        self.losses = torch.stack(losses).detach().double()

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        if self.rule.place.identity() and pl_module.global_step:
            wanted = self.exact.weights(self.losses, self.rows @ self.rows.T) @ self.rows
            found = weights(pl_module).double() @ self.rows
            self.cosines.append(float(torch.cosine_similarity(found, wanted, dim=0)))

    def _same_order(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        known = self.exact.memory._entries
        return {name: value for name, value in tensors.items() if name in known}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [MGDA, UPGrad, PCGrad])
def test_directions_on_the_rooms_are_close_to_the_exact_ones(kind) -> None:
    rule = kind(gradients="sketch")
    compared = Compared(rule)
    trainer = quiet_trainer(callbacks=[rule, compared], max_steps=51, max_epochs=-1)
    trainer.fit(small_module(), RoomsData(batch_size=4, steps=51))
    assert len(compared.cosines) == 50
    cosines = torch.tensor(compared.cosines)
    assert cosines.mean() > 0.99
    assert cosines.min() > 0.95
