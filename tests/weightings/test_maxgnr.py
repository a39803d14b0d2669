"""MaxGNR: its estimates, its weights, and its life in a Trainer."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_mtl.callbacks import MaxGNR
from lightning_mtl.engine.errors import NonFiniteGradientError
from tests.support.alternating_toy import TwoTrunks
from tests.support.jacobians import SCALES, random_jacobian
from tests.support.presence import set_present
from tests.support.toy import TASKS, PartlyLabelled, Toy, parameters, quiet_trainer, toy_loader

K, P = 3, 40


def stream(steps: int, seed: int = 0, noise: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Jacobians (steps, K, P) of known means, with noise that is correlated between tasks."""
    generator = torch.Generator().manual_seed(seed)
    means = random_jacobian(K, P, seed)
    mixing = noise * torch.randn(K, K, generator=generator, dtype=torch.float64)
    draws = torch.randn(steps, K, P, generator=generator, dtype=torch.float64)
    return means + mixing @ draws, means @ means.T, P * mixing @ mixing.T


class Spoiled(Toy):
    """Finite losses, and from the fourth batch on the gradient of a square root at zero."""

    def task_losses(self, batch: Any) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        if self.trainer.global_step >= 3:
            losses["one"] = losses["one"] + (self.trunk[0].weight * 0).sqrt().sum()
        return losses


def test_a_gradient_that_is_not_finite_is_refused_before_it_is_averaged() -> None:
    rule = MaxGNR(warmup_steps=1)
    with pytest.raises(NonFiniteGradientError, match="step 3"):
        quiet_trainer(callbacks=[rule]).fit(Spoiled(), toy_loader())
    assert rule.memory.tensors
    assert all(bool(value.isfinite().all()) for value in rule.memory.tensors.values())


def weigh(rule: MaxGNR, jacobian: Tensor) -> Tensor:
    """One step, as the engine takes it."""
    tasks = len(jacobian)
    rule.brought = rule.observe([[row] for row in jacobian], torch.ones(tasks, dtype=torch.float64))
    return rule.weights(torch.ones(tasks, dtype=torch.float64), jacobian @ jacobian.T)


def final(jacobians: Tensor, **settings: Any) -> Tensor:
    rule = MaxGNR(**({"warmup_steps": 5, "beta2": 0.9} | settings))
    return [weigh(rule, jacobian) for jacobian in jacobians][-1]


def test_weights_are_one_while_it_warms_up() -> None:
    rule = MaxGNR(warmup_steps=7)
    weights = [weigh(rule, jacobian) for jacobian in stream(9)[0]]
    assert all(torch.equal(w, torch.ones(K).double()) for w in weights[:7])
    assert not torch.allclose(weights[7], torch.ones(K).double(), rtol=0.01)


def test_the_warm_up_lasts_as_long_as_the_memory_by_default() -> None:
    assert MaxGNR().warmup_steps == 100
    assert MaxGNR(beta2=0.95).warmup_steps == 20


def test_moments_are_those_of_the_formulas_in_a_plain_loop() -> None:
    beta1, beta2, steps = 0.8, 0.95, 30
    jacobians, _, _ = stream(steps, noise=2.0)
    rule = MaxGNR(beta1, beta2, warmup_steps=0)
    average, second = torch.zeros(K, P).double(), torch.zeros(K, K).double()
    for jacobian in jacobians:
        weights = weigh(rule, jacobian)
        average = beta1 * average + (1 - beta1) * jacobian
        second = beta2 * second + (1 - beta2) * jacobian @ jacobian.T
    average, second = average / (1 - beta1**steps), second / (1 - beta2**steps)
    rho = (1 - beta1) * (1 + beta1**steps) / ((1 + beta1) * (1 - beta1**steps))
    signal = (average @ average.T - rho * second) / (1 - rho)
    found, covariance = rule.moments(second)
    torch.testing.assert_close(found, signal)
    torch.testing.assert_close(covariance, second - signal)

    logits = weights.log().requires_grad_()
    w, total = logits.exp(), torch.zeros(()).double()
    for i in range(K):
        update = w @ second @ w - 2 * w[i] * (signal[i] @ w) + w[i] ** 2 * signal[i, i]
        total = total + (w[i] ** 2 * signal[i, i] / update).log()
    (slope,) = torch.autograd.grad(total, logits)
    assert float(slope.norm()) < 1e-6


def test_the_signal_is_found_within_3_percent_and_overestimated_without_the_correction() -> None:
    """Noise of either sign, so that its products with the signal, the larger part, cancel."""
    corrected, uncorrected = torch.zeros(2, K, K).double()
    runs, steps = 100, 40
    for run in range(runs):
        jacobians, signal, covariance = stream(steps, noise=1.5)
        generator = torch.Generator().manual_seed(run // 2)
        noise = (jacobians - random_jacobian(K, P)) * (-1) ** run
        signs = torch.randint(0, 2, (steps, 1, P), generator=generator) * 2 - 1
        rule = MaxGNR(warmup_steps=steps)
        for jacobian in random_jacobian(K, P) + noise * signs:
            weigh(rule, jacobian)
        mean = rule.memory.tensors["mean"] / (1 - 0.9**steps)
        uncorrected += mean @ mean.T / runs
        corrected += rule.moments(signal + covariance)[0] / runs
    assert float((corrected - signal).norm() / signal.norm()) < 0.03
    # By (1 - 0.9) / (1 + 0.9) = 0.053 of the noise, of which 0.044 to 0.058 are seen.
    assert bool(((uncorrected - signal).diagonal() > 0.02 * covariance.diagonal()).all())


@pytest.mark.parametrize("objective", ["product", "min"])
def test_identical_tasks_have_weights_of_one(objective: str) -> None:
    one = stream(20)[0][:, :1].expand(-1, K, -1)
    weights = final(one, objective=objective)
    torch.testing.assert_close(weights, torch.ones(K).double(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("objective", ["product", "min"])
@pytest.mark.parametrize("factor", [1e-3, 50.0])
def test_a_loss_times_c_changes_its_weight_and_not_the_update(
    factor: float, objective: str
) -> None:
    jacobians, _, _ = stream(20)
    factors = torch.tensor([1.0, factor, 1.0]).double()
    plain = final(jacobians, objective=objective)
    scaled = final(jacobians * factors[:, None], objective=objective)
    expected = plain / factors
    torch.testing.assert_close(scaled, expected * K / expected.sum(), rtol=1e-5, atol=0)
    before, after = plain @ jacobians[-1], scaled @ (jacobians[-1] * factors[:, None])
    cosine = torch.cosine_similarity(before, after, dim=0)
    assert float(cosine) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("scale", SCALES)
def test_the_scale_of_all_losses_does_not_matter(scale: float) -> None:
    jacobians, _, _ = stream(20)
    torch.testing.assert_close(final(scale * jacobians), final(jacobians), rtol=1e-6, atol=0)


def test_permuted_tasks_have_permuted_weights() -> None:
    jacobians, _, _ = stream(20)
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(final(jacobians[:, order]), final(jacobians)[order])


def test_a_single_task_has_a_weight_of_one() -> None:
    assert final(stream(20)[0][:, :1]).tolist() == [1.0]


def test_a_task_without_gradient_changes_nothing_for_the_others() -> None:
    jacobians, _, _ = stream(20)
    silent = torch.cat([jacobians, torch.zeros(20, 1, P).double()], 1)
    weights = final(silent)
    assert float(weights[3]) == 1.0
    torch.testing.assert_close(weights[:3], final(jacobians))


def test_noise_alone_gives_the_inverse_lengths() -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([1.0, 5.0, 30.0]).double()
    draws = torch.randn(400, K, 2000, generator=generator, dtype=torch.float64)
    weights = final(lengths[:, None] * draws[:120], beta1=0.95, beta2=0.98)
    expected = K / lengths / (1 / lengths).sum()
    torch.testing.assert_close(weights, expected, rtol=0.05, atol=0)


def test_a_copy_of_its_state_goes_on_to_the_bit() -> None:
    jacobians, _, _ = stream(30)
    rule, other = MaxGNR(warmup_steps=5), MaxGNR(warmup_steps=5)
    for jacobian in jacobians[:15]:
        weigh(rule, jacobian)
    other.load_state_dict(copy.deepcopy(rule.state_dict()))
    for jacobian in jacobians[15:]:
        assert torch.equal(weigh(rule, jacobian), weigh(other, jacobian))


def test_absent_tasks_keep_their_averages() -> None:
    jacobians, _, _ = stream(12)
    rule = MaxGNR(warmup_steps=0)
    rule.memory.tasks = TASKS
    for step, jacobian in enumerate(jacobians):
        present = [0, 2] if step % 3 == 1 else [0, 1, 2]
        set_present(rule, present)
        weights = weigh(rule, jacobian[present])
        assert float(weights.sum()) == pytest.approx(len(present))
    assert rule.memory.tensors["mean_steps"].tolist() == [12.0, 8.0, 12.0]
    seen = [t for t in range(12) if t % 3 != 1]
    expected = torch.zeros(P).double()
    for step in seen:
        expected = 0.9 * expected + 0.1 * jacobians[step, 1]
    torch.testing.assert_close(rule.memory.tensors["mean"][1], expected)


@pytest.mark.parametrize("objective", ["product", "min"])
@pytest.mark.parametrize("gradients", ["shared", "last_layer", "features"])
@pytest.mark.parametrize("kind", [Toy, PartlyLabelled])
def test_it_trains(kind: type[Toy], gradients: str, objective: str) -> None:
    module = kind()
    start = parameters(module)
    rule = MaxGNR(warmup_steps=3, gradients=gradients, objective=objective)
    trainer = quiet_trainer(callbacks=[rule], max_epochs=2)
    trainer.fit(module, toy_loader())
    assert torch.isfinite(parameters(module)).all()
    assert not torch.equal(parameters(module), start)
    assert any(abs(float(weight) - 1) > 0.05 for weight in module.task_weights.values())


def test_it_trains_on_when_more_turns_out_to_be_shared() -> None:
    module = TwoTrunks()
    rule = MaxGNR(warmup_steps=2)
    quiet_trainer(callbacks=[rule]).fit(module, toy_loader())
    shared = sum(parameter.numel() for parameter in module.trunk.parameters())
    shared += sum(parameter.numel() for parameter in module.side.parameters())
    assert rule.memory.tensors["mean"].shape == (3, shared)
    assert rule.memory.tensors["mean_steps"].tolist() == [15.0] * 3


def test_ratios_are_logged_for_every_task() -> None:
    trainer = quiet_trainer(callbacks=[MaxGNR(warmup_steps=2)])
    trainer.fit(Toy(), toy_loader())
    for kind in ("gnr", "itgn"):
        values = [float(trainer.logged_metrics[f"train/{kind}/{task}"]) for task in TASKS]
        assert all(0 < value < float("inf") for value in values)


def test_features_are_measured_by_a_bias_on_every_channel() -> None:
    module, rule = Toy(), MaxGNR(gradients="features", warmup_steps=0)
    batch = next(iter(toy_loader()))
    features = module.trunk(batch[0]).detach()
    bias = torch.zeros(8, requires_grad=True)
    targets = dict(zip(TASKS, batch[1:], strict=True))
    expected = []
    for task in TASKS:
        output = module.heads[task](features + bias)
        loss = module.scales[task] * torch.nn.functional.mse_loss(output, targets[task])
        expected.append(torch.autograd.grad(loss, bias)[0])
    quiet_trainer(callbacks=[rule], max_steps=1).fit(module, toy_loader())
    torch.testing.assert_close(rule.memory.tensors["mean"], 0.1 * torch.stack(expected))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta1": 0.0}, r"beta1=\)` should lie in \(0, 1\). Found 0.0"),
        ({"beta2": 1.0}, r"beta2=\)` should lie in \[0, 1\). Found 1.0"),
        ({"objective": "sum"}, r"objective=\)` should be one of .*product.* Found 'sum'"),
    ],
    ids=["beta1", "beta2", "objective"],
)
def test_wrong_arguments_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MaxGNR(**settings)
