"""No step waits for the device but where it is documented, under any weighting and at any place."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_mtl import MultiTaskModule
from lightning_mtl.callbacks import (
    MGDA,
    AlternatingUpdates,
    GradientNoiseMonitor,
    GradNorm,
    GramianWeighting,
    MaxGNR,
    UPGrad,
)
from lightning_mtl.engine.sketching import layers, sketch
from tests.support.remote_device import (
    DEVICE,
    Remote,
    RemoteStrategy,
    Traffic,
    Watch,
    remote_device,
)
from tests.support.toy import TASKS, Toy, parameters, quiet_trainer, toy_loader
from tests.support.weightings import EXAMPLES

FIRST = 3
STEPS = 4

Build = Callable[[], list[Any]]


def one(build: Callable[[], Any]) -> Build:
    return lambda: [build()]


CASES: dict[str, Build] = {
    "none": list,
    "AlternatingUpdates": one(AlternatingUpdates),
    "AlternatingUpdates(affinity)": one(
        lambda: AlternatingUpdates(
            regroup="affinity", affinity_decay=0.2, affinity_warm_up=0, seed=0
        )
    ),
    "AlternatingUpdates(conflicts)": one(
        lambda: AlternatingUpdates(regroup="conflicts", conflict_every_n_steps=1)
    ),
    "GradNorm(theoretical)": one(
        lambda: GradNorm(initial_loss="theoretical", theoretical_losses=dict.fromkeys(TASKS, 1.0))
    ),
    **{name: one(build) for name, build in EXAMPLES.items()},
    "MGDA(sketch)": one(lambda: MGDA(gradients="sketch", sketch_rows=2)),
    "MGDA(probes)": one(lambda: MGDA(gradients="probes")),
    "MGDA(preconditioned)": one(lambda: MGDA(metric="preconditioned")),
    "monitor": one(lambda: GradientNoiseMonitor(every_n_steps=1)),
}

ONE_WAIT = {
    "AlternatingUpdates(affinity)",
    "AlternatingUpdates(conflicts)",
    "MaxGNR",
    "MaxGNR(features)",
    "TorchJDWeighting",
    "monitor",
}
"""Where a step waits once, as its documentation says."""


class AdamToy(Toy):
    """With an optimizer of which every metric can be taken."""

    def __init__(self) -> None:
        super().__init__(optimizer=torch.optim.Adam, lr=0.01)


def fitted(callbacks: list[Any], **options: Any) -> Tensor:
    module = AdamToy()
    trainer = quiet_trainer(callbacks=callbacks, limit_train_batches=FIRST + STEPS, **options)
    trainer.fit(module, toy_loader())
    return parameters(module)


def fitted_remotely(callbacks: list[Any], **options: Any) -> tuple[Tensor, Traffic]:
    with remote_device() as traffic:
        watched = [*callbacks, Watch(traffic, FIRST)]
        strategy = RemoteStrategy()
        trained = fitted(watched, strategy=strategy, accelerator="auto", **options)
    return trained, traffic


def test_the_traffic_is_noticed() -> None:
    with remote_device() as traffic:
        traffic.watching = True
        there = torch.ones(3, device=DEVICE)
        assert isinstance(there, Remote) and isinstance(there + there, Remote)
        assert not traffic.waits
        assert float(there.sum()) == 3
        assert there.tolist() == [1, 1, 1] and there.cpu().device.type == "cpu"
        there[there > 0], torch.ones(3).to(DEVICE), torch.tensor([1.0], device=DEVICE)
        torch.linalg.eigh(torch.eye(3, device=DEVICE))
        assert len(traffic.waits) == 7, traffic.waits
        torch.ones(3).to(DEVICE, non_blocking=True)
        assert len(traffic.waits) == 7 and traffic.copies == ["to the device 3"]
        with pytest.raises(RuntimeError, match="tensors of one device"):
            there + torch.ones(3)


QUICK = {"none", "UncertaintyWeighting", "GradNorm", "MGDA", "MGDA(probes)", "MaxGNR", "MoCo"}
"""Those that are tried by default: one of each way from the losses to the gradients."""


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in CASES]
)
def test_a_step_waits_no_more_often_than_documented(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The losses are checked when they have arrived, which takes a copy that is not waited for."""
    # The tensors of a device that is not there are of a class that would not be sketched.
    monkeypatch.setattr(layers, "_is_plain", lambda weight: True)
    monkeypatch.setattr(sketch, "_is_usual", lambda tensor: True)
    trained, traffic = fitted_remotely(CASES[name]())
    assert len(traffic.waits) <= (STEPS if name in ONE_WAIT else 0), traffic.waits
    assert all(int(copy.split()[-1]) <= len(TASKS) ** 2 for copy in traffic.copies)
    expected = fitted(CASES[name]())
    torch.testing.assert_close(trained, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["none", "UncertaintyWeighting", "GradNorm", "MGDA", "MoCo"])
def test_accumulated_steps_do_not_wait_either(name: str) -> None:
    _, traffic = fitted_remotely(CASES[name](), accumulate_grad_batches=2)
    assert not traffic.waits


class Many(MultiTaskModule):
    """A trunk and more tasks than are solved for on the device."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Linear(4, 5)
        self.heads = nn.ModuleList(nn.Linear(5, 1) for _ in range(9))

    def task_losses(self, batch: Tensor) -> dict[str, Tensor]:
        features = self.trunk(batch).tanh()
        return {str(k): (head(features) - k).square().mean() for k, head in enumerate(self.heads)}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


@pytest.mark.parametrize(
    "place",
    [
        "shared",
        *(pytest.param(p, marks=pytest.mark.slow) for p in ("last_layer", "features", "probes")),
    ],
)
def test_more_tasks_than_the_device_solves_for_are_waited_for_once(place: str) -> None:
    with remote_device() as traffic:
        rule = UPGrad(gradients=place)
        if place == "probes":
            rule._source.probes.warm_up = 0
        callbacks = [rule, Watch(traffic, FIRST)]
        trainer = quiet_trainer(callbacks=callbacks, strategy=RemoteStrategy(), accelerator="auto")
        batches = torch.randn(FIRST + STEPS, 6, 4)
        trainer.fit(Many(), DataLoader(batches, batch_size=None))
    assert len(traffic.waits) == STEPS, traffic.waits


def test_every_rule_on_a_gramian_says_where_it_is_solved() -> None:
    kinds = {type(build()) for build in EXAMPLES.values()}
    waiting = {
        k.__name__ for k in kinds if issubclass(k, GramianWeighting) and not k.most_on_device
    }
    assert waiting == {MaxGNR.__name__}
