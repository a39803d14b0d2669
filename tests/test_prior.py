"""Prior weights under every weighting: what is logged, refused, resumed, and where they cancel."""

import inspect
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import pytest
import torch
from torch import Tensor

from lightning_mtl.callbacks import (
    MGDA,
    AdaTask,
    AlternatingUpdates,
    EqualWeighting,
    FixedWeighting,
    GradientNoiseMonitor,
    GradNorm,
    Weighting,
)
from lightning_mtl.catalogue import weightings
from tests.support.toy import (
    TASKS,
    Graded,
    PartlyLabelled,
    Toy,
    logged,
    parameters,
    quiet_trainer,
    straight_and_resumed,
    toy_loader,
    validation,
    weights,
)
from tests.support.weightings import EXAMPLES, IN_LOSSES, PRIOR, ROUTES

C = {task: PRIOR.get(task, 1.0) for task in TASKS}
every_route = pytest.mark.parametrize("name", ROUTES.values())


def in_losses() -> Toy:
    """A toy whose losses are multiplied by the prior weights."""
    module = Toy()
    module.scales = {
        task: c * scale for (task, scale), c in zip(module.scales.items(), C.values(), strict=True)
    }
    return module


def rows(module: Toy, rule: Weighting, **settings: Any) -> list[dict[str, float]]:
    return logged(module, rule, max_steps=4, **settings)


@pytest.mark.parametrize("name", EXAMPLES)
def test_losses_are_logged_as_given_and_weights_as_those_of_given_losses(name: str) -> None:
    found = rows(Toy(), EXAMPLES[name](prior=PRIOR))
    expected = rows(in_losses(), IN_LOSSES.get(name, EXAMPLES[name])())
    assert len(found) == len(expected) == 4
    for ours, theirs in zip(found, expected, strict=True):
        assert set(ours) - set(theirs) <= {"train/weighted_loss", "weighted"}
        for task, c in C.items():
            assert c * ours[f"train/loss/{task}"] == pytest.approx(theirs[f"train/loss/{task}"])
            if f"train/weight/{task}" in theirs:
                weight = c * theirs[f"train/weight/{task}"]
                assert ours[f"train/weight/{task}"] == pytest.approx(weight, rel=1e-3, abs=1e-6)


def test_the_logged_sums_are_those_of_the_given_losses_and_of_the_weighted_ones() -> None:
    for row in rows(Toy(), EqualWeighting(prior=PRIOR)):
        losses = {task: row[f"train/loss/{task}"] for task in TASKS}
        weighted = sum(c * losses[task] for task, c in C.items())
        assert row["train/total_loss"] == pytest.approx(sum(losses.values()))
        assert row["train/weighted_loss"] == pytest.approx(weighted)


@every_route
def test_prior_weights_of_1_change_no_bit(name: str) -> None:
    def trained(**common: Any) -> Tensor:
        module = Graded()
        trainer = quiet_trainer(callbacks=[EXAMPLES[name](**common)], limit_train_batches=4)
        trainer.fit(module, toy_loader(), validation())
        return parameters(module)

    assert torch.equal(trained(prior=dict.fromkeys(TASKS, 1.0)), trained())


@every_route
def test_a_run_with_prior_weights_resumes_to_the_bit(name: str, tmp_path: Path) -> None:
    straight, resumed = straight_and_resumed(lambda: EXAMPLES[name](prior=PRIOR), tmp_path)
    assert torch.equal(parameters(straight), parameters(resumed))


@pytest.mark.parametrize("gradients", ["probes", "sketch"])
def test_estimated_gramians_are_those_of_the_scaled_losses(gradients: str) -> None:
    def trained(module: Toy, **common: Any) -> Toy:
        rule = MGDA(gradients=gradients, probe_decay=0.5, sketch_rows=4, **common)
        L.seed_everything(3, verbose=False)
        quiet_trainer(callbacks=[rule], max_epochs=2).fit(module, toy_loader())
        return module

    ours, theirs = trained(Toy(), prior=PRIOR), trained(in_losses())
    torch.testing.assert_close(parameters(ours), parameters(theirs), atol=1e-4, rtol=1e-4)
    assert (weights(theirs) - 1).abs().max() > 1e-3


def test_the_monitor_sees_the_given_gradients_and_the_applied_weights() -> None:
    def measured(rule: Weighting) -> list[dict[str, float]]:
        monitor = GradientNoiseMonitor(every_n_steps=1)
        found = logged(PartlyLabelled(), rule, monitor, max_steps=4, accumulate_grad_batches=2)
        return [{k: v for k, v in row.items() if "noise" in k} for row in found]

    found, expected = measured(EqualWeighting(prior=PRIOR)), measured(FixedWeighting(C))
    assert any("noise/gnr" in key for row in found for key in row)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, nan_ok=True)


@pytest.mark.parametrize("kind", weightings(), ids=lambda kind: kind.__name__)
def test_every_weighting_refuses_a_prior_of_zero_by_its_own_name(kind: type[Weighting]) -> None:
    if kind.__name__ == "TorchJDWeighting":
        pytest.importorskip("torchjd", reason="the extra `torchjd` is optional")
    build: Callable[..., Weighting] = EXAMPLES.get(kind.__name__, kind)
    with pytest.raises(ValueError, match=rf"`{kind.__name__}\(prior=\)` should be positive"):
        build(prior={"one": 0.0})


def test_a_name_of_no_task_is_refused_at_the_first_step() -> None:
    trainer = quiet_trainer(callbacks=[GradNorm(prior={"depth": 2.0})])
    with pytest.raises(ValueError, match=r"`GradNorm\(prior=\)` should name tasks among \('one'"):
        trainer.fit(Toy(), toy_loader())


def test_a_second_run_of_the_module_has_the_prior_of_its_own_weighting() -> None:
    module = Toy()
    for rule, expected in (
        (EqualWeighting(prior=PRIOR), list(C.values())),
        (EqualWeighting(), [1.0] * 3),
    ):
        quiet_trainer(callbacks=[rule], max_steps=1).fit(module, toy_loader())
        assert weights(module).tolist() == pytest.approx(expected)


class Effect(NamedTuple):
    """What a prior does to the gradient of the trunk, at worst over some steps.

    Attributes:
        turn: one less the cosine of the gradients with and without it.
        stretch: the relative change of the length.
    """

    turn: float
    stretch: float


class Gradients(L.Callback):
    """Keeps the gradient of the trunk in each step."""

    def __init__(self) -> None:
        self.found: list[Tensor] = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        parts = [p.grad.flatten() for p in pl_module.trunk.parameters()]
        self.found.append(torch.cat(parts).double())


@cache
def effect_of_a_prior(name: str) -> Effect:
    """Of a network that stands still, so that nothing but the prior differs between two runs."""
    runs = []
    for prior in (None, PRIOR):
        keep = Gradients()
        trainer = quiet_trainer(callbacks=[EXAMPLES[name](prior=prior), keep], max_epochs=2)
        trainer.fit(Graded(lr=0.0), toy_loader(samples=32), validation())
        runs.append(torch.stack(keep.found[2:]))
    plain, scaled = runs
    cosines = torch.nn.functional.cosine_similarity(plain, scaled, dim=1)
    lengths = scaled.norm(dim=1) / plain.norm(dim=1)
    return Effect(float((1 - cosines).max()), float((lengths - 1).abs().max()))


def card_of(kind: type[Weighting]) -> str:
    return " ".join((inspect.getdoc(kind) or "").split()).lower()


@pytest.mark.parametrize("name", [k.__name__ for k in weightings() if k.__name__ in EXAMPLES])
def test_a_card_says_that_a_prior_cancels_exactly_where_it_does(name: str) -> None:
    effect, card = effect_of_a_prior(name), card_of(type(EXAMPLES[name]()))
    said = "a `prior` cancels on the shared parameters"
    assert (effect.turn < 1e-6) == (said in card)
    assert (effect.stretch < 1e-5) == (said in card and "but for the length" not in card)


def test_a_prior_counts_where_arguments_keep_it_from_cancelling() -> None:
    assert effect_of_a_prior("FairGrad(priorities)").turn > 1e-3
    assert effect_of_a_prior("NormBalance(decay)").turn < 1e-6


@pytest.mark.parametrize("kind", [AdaTask, AlternatingUpdates])
def test_a_prior_cancels_where_each_task_has_its_own_state_of_adam(kind: type[Weighting]) -> None:
    def trained(**common: Any) -> Tensor:
        module = Toy(partial(torch.optim.Adam, eps=1e-15), lr=0.01)
        quiet_trainer(callbacks=[kind(**common)], max_steps=5).fit(module, toy_loader())
        return parameters(module)

    torch.testing.assert_close(trained(prior=PRIOR), trained(), atol=1e-4, rtol=1e-4)
    assert "under adam" in card_of(kind) or "with adam" in card_of(kind)
