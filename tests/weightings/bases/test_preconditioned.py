"""Weights in the metric of the optimizer: those of the updates that it would make."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_mtl.callbacks import MGDA, GramianWeighting
from tests.support.convolutions import ARGUMENTS, GRAMIAN_RULES, Recorded, few_by_default
from tests.support.toy import (
    TASKS,
    Toy,
    parameters,
    quiet_trainer,
    straight_and_resumed,
    toy_loader,
    weights,
)

every_rule = pytest.mark.parametrize("name", few_by_default(GRAMIAN_RULES))
SUB_BATCHES = ("MoDo", "SDMGrad", "MaxGNR")
OPTIMIZERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "Adam": (torch.optim.Adam, {}),
    "AdamW": (torch.optim.AdamW, {"betas": (0.8, 0.9)}),
    "NAdam": (torch.optim.NAdam, {}),
    "RAdam": (torch.optim.RAdam, {}),
    "amsgrad": (torch.optim.Adam, {"amsgrad": True, "betas": (0.5, 0.5)}),
    "fused": (torch.optim.Adam, {"fused": True}),
    "one tensor at a time": (torch.optim.Adam, {"foreach": False, "eps": 1e-2}),
}


class Metric(Recorded, Toy):
    """A toy in float64 that keeps the Gramian in the metric, worked out by hand."""

    def __init__(self, kind: Any = torch.optim.Adam, **arguments: Any) -> None:
        super().__init__()
        self.kind, self.arguments = kind, {"lr": 0.01} | arguments
        self.double()
        self.wanted: list[Tensor] = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.kind(self.parameters(), **self.arguments)

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        return super().task_losses([part.double() for part in batch])

    def on_train_batch_start(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        super().on_train_batch_start(batch, batch_idx)
        optimizer = self.trainer.optimizers[0]
        total = torch.zeros(3, 3, dtype=torch.float64)
        for name, parameter in self.named_parameters():
            if self.measures(name):
                rows, state = self.rows[name], optimizer.state[parameter]
                divisor = self.divisor(state, optimizer.defaults) if state else 1.0
                rows = torch.view_as_real(rows) if rows.is_complex() else rows
                total += (rows / divisor).reshape(3, -1) @ rows.reshape(3, -1).T
        self.wanted.append(total)

    def measures(self, name: str) -> bool:
        return name.startswith("trunk")

    def divisor(self, state: dict[str, Any], defaults: dict[str, Any]) -> Tensor:
        moment = state.get("max_exp_avg_sq", state["exp_avg_sq"])
        moment = torch.view_as_real(moment) if moment.is_complex() else moment
        decay = defaults["betas"][1] ** float(state["step"])
        return torch.sqrt(moment / (1 - decay)) + defaults["eps"]


def noting(rule: Any) -> Any:
    """The rule, which keeps the Gramians that it is given."""
    solve, rule.seen = rule.weights, []

    def weights_of(losses: Tensor, gramian: Tensor) -> Tensor:
        rule.seen.append(gramian.clone())
        return solve(losses, gramian)

    rule.weights = weights_of
    return rule


def build(name: str, **arguments: Any) -> Any:
    own = ARGUMENTS.get(name, {}) | {"metric": "preconditioned"} | arguments
    return noting(GRAMIAN_RULES[name](**own))


def run(module: Toy, rule: GramianWeighting, steps: int = 4, **settings: Any) -> Toy:
    trainer = quiet_trainer(callbacks=[rule], max_steps=steps, max_epochs=-1, **settings)
    trainer.fit(module, toy_loader(8))
    return module


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_gramian_is_that_of_what_the_optimizer_divides_by(optimizer: str) -> None:
    kind, arguments = OPTIMIZERS[optimizer]
    rule = build("MGDA")
    module = run(Metric(kind, **arguments), rule)
    torch.testing.assert_close(torch.stack(rule.seen), torch.stack(module.wanted))


@every_rule
def test_weights_are_those_of_the_metric(name: str) -> None:
    """In the first step there is no moment yet, and the metric is the usual one."""
    rule = build(name)
    module = run(Metric(), rule)
    assert max(module.errors) < 1e-9
    usual = run(Metric(), build(name, metric="euclidean"))
    assert torch.equal(module.applied[0], usual.applied[0])
    # Those of `DualProj` and `SDMGrad` lie at a corner in both.
    moved = not torch.equal(torch.stack(module.applied), torch.stack(usual.applied))
    assert moved or name in ("DualProj", "SDMGrad")
    if name not in SUB_BATCHES:
        torch.testing.assert_close(torch.stack(rule.seen), torch.stack(module.wanted))


def test_one_layer_is_measured_in_the_metric() -> None:
    class LastLayer(Metric):
        def measures(self, name: str) -> bool:
            return name.startswith("trunk.3")

    rule = build("UPGrad", gradients="last_layer", layer="trunk.3")
    module = run(LastLayer(), rule)
    torch.testing.assert_close(torch.stack(rule.seen), torch.stack(module.wanted))
    assert max(module.errors) < 1e-9


class Odd(Metric):
    """A complex parameter and one without axes in the trunk."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk.register_parameter("turn", nn.Parameter(torch.randn(8, dtype=torch.complex128)))
        self.trunk.register_parameter("gain", nn.Parameter(torch.tensor(1.5).double()))

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        x, *targets = (part.double() for part in batch)
        features = self.trunk.gain * (self.trunk(x) * self.trunk.turn).abs()
        return {
            task: self.scales[task] * nn.functional.mse_loss(self.heads[task](features), target)
            for task, target in zip(TASKS, targets, strict=True)
        }


def test_complex_parameters_and_those_without_axes() -> None:
    rule = build("MGDA")
    module = run(Odd(), rule)
    torch.testing.assert_close(torch.stack(rule.seen), torch.stack(module.wanted))


def test_the_scale_of_all_losses_changes_no_weight() -> None:
    """Without ε the metric grows with the gradients, and so does the Gramian."""
    found = []
    for scale in (1.0, 1024.0):
        module = Metric(eps=0.0)
        module.scales = {task: scale * value for task, value in module.scales.items()}
        rule = build("MGDA")
        run(module, rule)
        found.append((torch.stack(module.applied), torch.stack(rule.seen[1:]) / scale, module))
    torch.testing.assert_close(found[1][0][1:], found[0][0][1:], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found[1][1], found[0][1], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(parameters(found[1][2]), parameters(found[0][2]))


class Whitened(Metric):
    """The toy in parameters φ = D^½ θ, in which the usual metric is that of the toy."""

    def __init__(self, roots: dict[str, Tensor]) -> None:
        super().__init__()
        self.roots = roots
        with torch.no_grad():
            for name, root in roots.items():
                self.get_parameter(name).mul_(root)

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        x, *targets = (part.double() for part in batch)
        own = {
            name.removeprefix("trunk."): self.get_parameter(name) / root
            for name, root in self.roots.items()
        }
        features = torch.func.functional_call(self.trunk, own, (x,))
        return {
            task: self.scales[task] * nn.functional.mse_loss(self.heads[task](features), target)
            for task, target in zip(TASKS, targets, strict=True)
        }


def test_the_metric_is_the_usual_one_of_parameters_that_it_scales() -> None:
    """A diagonal change of parameters, folded into the forward pass."""
    rule = build("MGDA")
    module = run(Metric(), rule, steps=3)
    # The metric of one more step, and the Gramians of both networks there.
    optimizer = module.trainer.optimizers[0]
    roots = {
        name: module.divisor(optimizer.state[p], optimizer.defaults).sqrt()
        for name, p in module.named_parameters()
        if name.startswith("trunk")
    }
    twin = Whitened(roots)
    with torch.no_grad():
        for name, p in module.named_parameters():
            twin.get_parameter(name).copy_(p * roots.get(name, 1.0))
    found = {}
    for metric, network in (("preconditioned", module), ("euclidean", twin)):
        rule = build("MGDA", metric=metric)
        trainer = quiet_trainer(callbacks=[rule], max_steps=1)
        if network is module:
            network.configure_optimizers = lambda: optimizer
        trainer.fit(network, toy_loader(8))
        found[metric] = rule.seen[0], network.applied[-1]
    for one, other in zip(found["preconditioned"], found["euclidean"], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["MaxGNR", pytest.param("SDMGrad", marks=pytest.mark.slow)])
def test_accumulated_micro_batches_are_measured_in_the_metric(name: str) -> None:
    found = [
        run(Metric(), build(name, metric=metric), accumulate_grad_batches=2)
        for metric in ("preconditioned", "euclidean")
    ]
    assert torch.equal(found[0].applied[0], found[1].applied[0])
    assert not torch.equal(torch.stack(found[0].applied), torch.stack(found[1].applied))
    assert all(row.isfinite().all() for row in found[0].applied)


@pytest.mark.filterwarnings("ignore:.*as those of one function")
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.LBFGS, torch.optim.Adagrad])
def test_optimizers_without_second_moments_are_refused_at_the_start(optimizer: Any) -> None:
    module = Toy(optimizer)
    with pytest.raises(ValueError, match=rf"second moments.*Found `{optimizer.__name__}`"):
        run(module, MGDA(metric="preconditioned"))
    assert module.trainer.global_step == 0


def test_moments_of_another_kind_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`exp_avg_sq`.*Found `Adamax` with"):
        run(Toy(torch.optim.Adamax), MGDA(metric="preconditioned"))


@pytest.mark.parametrize("gradients", ["features", "sketch", "probes"])
def test_the_metric_asks_for_exact_gradients(gradients: str) -> None:
    with pytest.raises(ValueError, match=rf'metric="preconditioned".*gradients="{gradients}"'):
        MGDA(gradients=gradients, metric="preconditioned")


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`MGDA\(metric=\)`"):
        MGDA(metric="adam")


@pytest.mark.parametrize("name", few_by_default(["MGDA", "UPGrad"]))
def test_a_resumed_run_goes_on_in_the_same_metric(name: str, tmp_path: Path) -> None:
    own = ARGUMENTS.get(name, {})
    straight, resumed = straight_and_resumed(
        lambda: GRAMIAN_RULES[name](metric="preconditioned", **own), tmp_path
    )
    assert torch.equal(parameters(straight), parameters(resumed))
    assert torch.equal(weights(straight), weights(resumed))


class Thawed(Metric):
    """A layer of the trunk that joins after two steps."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk[0].requires_grad_(False)

    def on_train_batch_start(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        if self.global_step == 2:
            self.trunk[0].requires_grad_(True)
        self.rows = {}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.applied = [
            *getattr(self, "applied", []),
            torch.stack(list(self.task_weights.values())),
        ]


def test_a_layer_that_was_thawed_has_no_moments_at_first() -> None:
    rule = build("MGDA")
    module = run(Thawed(), rule, steps=5)
    assert all(row.isfinite().all() for row in module.applied)
