"""What holds for every weighting of losses: its price, sharding, zeros, scales, and its card."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from torch import Tensor

from lightning_mtl.callbacks import DWA, FAMO, IMTLL, STCH, GeometricLoss, LossWeighting
from lightning_mtl.catalogue import weightings
from lightning_mtl.weightings.bases import loss_weighting
from tests.support.ddp_sharded import RUNS, rule_of, settings
from tests.support.presence import set_present
from tests.support.ranks import results_of
from tests.support.toy import TASKS, Toy, ToyData, parameters, quiet_trainer, toy_loader
from tests.support.weightings import EXAMPLES

OF_THIS_STEP = ["FAMO", "GeometricLoss", "STCH"]
SHARDING = [FSDPStrategy, DeepSpeedStrategy, ModelParallelStrategy]
LOSS_WEIGHTINGS = [kind for kind in weightings() if issubclass(kind, LossWeighting)]


@pytest.mark.parametrize("name", OF_THIS_STEP)
@pytest.mark.parametrize("strategy", SHARDING)
def test_sharding_and_accumulation_are_refused_where_weights_need_the_whole_step(
    name: str, strategy: type
) -> None:
    weighting = EXAMPLES[name]()
    # Building some of them needs a GPU or another package; their kind is all that matters.
    trainer = SimpleNamespace(
        callbacks=[weighting], strategy=strategy.__new__(strategy), accumulate_grad_batches=2
    )
    ways_out = r"`accumulate_grad_batches=1`.*a weighting whose weights come from.*\"ddp\""
    with pytest.raises(
        ValueError, match=rf"`{name}`.*`{strategy.__name__}`, which shards.*{ways_out}"
    ):
        weighting.setup(trainer, Toy(), "fit")
    trainer.accumulate_grad_batches = 1
    weighting.setup(trainer, Toy(), "fit")


@pytest.mark.parametrize("strategy", SHARDING)
def test_other_weightings_of_losses_take_both(strategy: type) -> None:
    trainer = SimpleNamespace(strategy=strategy.__new__(strategy), accumulate_grad_batches=2)
    for name in ("DWA", "EqualWeighting", "IMTLL", "RandomWeighting", "UncertaintyWeighting"):
        trainer.callbacks = [weighting := EXAMPLES[name]()]
        weighting.setup(trainer, Toy(), "fit")


# Lightning's advice to modules that override `optimizer_step`, as ours does.
@pytest.mark.filterwarnings("ignore:When using `Trainer.accumulate_grad_batches:UserWarning")
def test_accumulation_that_is_scheduled_later_is_refused_when_it_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weighting = GeometricLoss()
    scheduler = GradientAccumulationScheduler({0: 1, 1: 2})
    monkeypatch.setattr(loss_weighting, "shards", lambda strategy: True)
    trainer = quiet_trainer(callbacks=[weighting, scheduler], max_epochs=2)
    with pytest.raises(ValueError, match=r"`GeometricLoss` under gradient accumulation"):
        trainer.fit(Toy(), toy_loader())
    assert trainer.current_epoch == 1


@pytest.fixture(scope="module")
def sharded() -> dict[tuple[str, int, bool], Any]:
    """Runs of two gloo processes, each of which holds half of every parameter."""
    found = results_of("ddp_sharded")
    if not found.pop("averages"):
        pytest.skip("this torch sums the gradients of FSDP2 over ranks of gloo")
    return found


@pytest.mark.parametrize(("name", "accumulate", "prior"), RUNS)
def test_sharded_ranks_equal_one_or_are_refused(
    name: str, accumulate: int, prior: bool, sharded: dict[tuple[str, int, bool], Any]
) -> None:
    found = sharded[name, accumulate, prior]
    if name in OF_THIS_STEP and accumulate > 1:
        assert "Found `ModelParallelStrategy`, which shards them" in found
        return
    module = Toy()
    trainer = quiet_trainer(callbacks=[rule_of(name, prior)], **settings(accumulate))
    trainer.fit(module, ToyData(8))
    torch.testing.assert_close(found, parameters(module), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "accumulate", "price"),
    [
        ("DWA", 4, "each of 4 batches of a step costs F + H + B"),
        ("FAMO", 1, "a step costs 2 F + H + B"),
        ("FAMO", 4, "each of 4 batches of a step costs 2 F + H + B + (K - 1) B"),
        ("GeometricLoss", 4, "each of 4 batches of a step costs F + H + B + (K - 1) B"),
        ("MGDA", 4, "each of 4 batches of a step costs F + H + K B"),
        ("MGDA(features)", 1, "a step costs F + H + B"),
        ("MGDA(features)", 4, "each of 4 batches of a step costs F + H + K B"),
        ("MGDA(last_layer)", 4, "each of 4 batches of a step costs F + H + K B"),
        ("MGDA(every_n_steps)", 4, "each of 4 batches of a step costs F + H + B + (K - 1) B / 3"),
        ("MaxGNR(features)", 4, "F + H + K B, and K C numbers of averaged gradients"),
    ],
    ids=[
        "DWA-4",
        "FAMO-1",
        "FAMO-4",
        "GeometricLoss-4",
        "MGDA-4",
        "MGDA(features)-1",
        "MGDA(features)-4",
        "MGDA(last_layer)-4",
        "MGDA(every_n_steps)-4",
        "MaxGNR(features)-4",
    ],
)
def test_the_price_at_setup_is_that_of_the_accumulation(
    name: str, accumulate: int, price: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("lightning_mtl.weightings.bases.weighting.rank_zero_info", said.append)
    trainer = quiet_trainer(
        callbacks=[weighting := EXAMPLES[name]()], accumulate_grad_batches=accumulate
    )
    weighting.setup(trainer, Toy(), "fit")
    assert f"{price} (equal weighting: F + H + B)" in said[0]


def trained(weighting: LossWeighting) -> LossWeighting:
    """After a few epochs of its own, without a Trainer."""
    for epoch in range(3):
        for step in range(4):
            losses = torch.tensor([3.0, 1.0, 2.0]) / (1 + epoch + 0.1 * step)
            weighting.weights(losses)
            weighting.update(losses)
            if isinstance(weighting, FAMO):
                weighting.learn(losses, losses * torch.tensor([0.9, 0.95, 0.8]))
        if isinstance(weighting, (DWA, STCH)):
            weighting.end_epoch()
    return weighting


WITH_LOGARITHMS: dict[str, Callable[[], LossWeighting]] = {
    "FAMO": FAMO,
    "GeometricLoss": GeometricLoss,
    "STCH": lambda: STCH(warmup_epochs=1),
    "STCH(warm-up)": lambda: STCH(warmup_epochs=9),
    "STCH(mu=0.1)": lambda: STCH(mu=0.1, warmup_epochs=0),
}
with_logarithms = pytest.mark.parametrize("name", WITH_LOGARITHMS)


@with_logarithms
def test_a_loss_of_zero_is_an_absent_task(name: str) -> None:
    """U16: a batch without a valid label."""
    with_zero, without = trained(WITH_LOGARITHMS[name]()), trained(WITH_LOGARITHMS[name]())
    without.tasks = ("a", "b", "c")
    set_present(without, [0, 2])
    losses = torch.tensor([0.5, 0.0, 0.7])
    weights = with_zero.weights(losses)
    assert weights[1] == 0
    torch.testing.assert_close(weights[[0, 2]], without.weights(losses[[0, 2]]))
    with_zero.update(losses)
    without.update(losses[[0, 2]])
    if isinstance(with_zero, FAMO):
        with_zero.learn(losses, losses * 0.9)
        without.learn(losses[[0, 2]], losses[[0, 2]] * 0.9)
    for entry, value in without.memory.tensors.items():
        assert torch.equal(with_zero.memory.tensors[entry], value), entry


@with_logarithms
def test_nothing_but_zeros_is_weighted_by_zero(name: str) -> None:
    assert trained(WITH_LOGARITHMS[name]()).weights(torch.zeros(3)).tolist() == [0, 0, 0]


def test_a_mean_of_dwa_runs_over_valid_batches() -> None:
    weighting = DWA()
    for losses in ([1.0, 4.0], [3.0, 0.0], [2.0, 6.0]):
        weighting.update(torch.tensor(losses))
    weighting.end_epoch()
    assert weighting.memory.tensors["last"].tolist() == [2.0, 5.0]


class NowAndThen(Toy):
    """A toy whose second task has a valid label in every third step only."""

    def __init__(self, absent: bool) -> None:
        super().__init__()
        self.absent = absent

    def task_losses(self, batch: list[Tensor]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        if self.global_step % 3 == 0:
            return losses
        two = losses.pop("two")
        return losses if self.absent else losses | {"two": two * 0}


@pytest.mark.parametrize("name", OF_THIS_STEP)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_batches_without_a_valid_label_train_as_if_the_task_were_absent(
    name: str, accumulate: int
) -> None:
    trained = []
    for absent in (False, True):
        module = NowAndThen(absent)
        trainer = quiet_trainer(
            callbacks=[EXAMPLES[name]()],
            max_epochs=4,
            limit_train_batches=8,
            accumulate_grad_batches=accumulate,
        )
        trainer.fit(module, toy_loader())
        trained.append(parameters(module))
    torch.testing.assert_close(trained[0], trained[1])
    assert float((trained[0] - parameters(Toy())).norm()) > 0.03


# Multiplied by the losses' scale, these are what they were; those of the others do not change.
SHRINKING = ("STCH", "STCH(warm-up)", "STCH(mu=0.1)")
SCALE_FREE = WITH_LOGARITHMS | {"DWA": DWA}


@pytest.mark.parametrize("name", SCALE_FREE)
@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6, 1e12])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_scale_of_all_losses_does_not_matter(
    name: str, scale: float, dtype: torch.dtype
) -> None:
    found = []
    for factor in (1.0, scale):
        weighting = SCALE_FREE[name]()
        for epoch in range(3):
            for step in range(3):
                losses = torch.tensor([3.0, 1.0, 0.2], dtype=dtype) / (1 + epoch + 0.3 * step)
                losses = losses ** torch.tensor([1.0, 0.5, 1.5], dtype=dtype) * factor
                weights = weighting.weights(losses)
                weighting.update(losses)
                if isinstance(weighting, FAMO):
                    weighting.learn(losses, losses * torch.tensor([0.9, 0.95, 0.8], dtype=dtype))
            if isinstance(weighting, (DWA, STCH)):
                weighting.end_epoch()
        found.append(weights * factor if name in SHRINKING else weights)
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["FAMO", "GeometricLoss", "STCH"])
def test_the_scale_of_one_loss_scales_its_weight_only(name: str) -> None:
    """In the weighted gradient it cancels, up to a factor that all tasks share."""
    factors = torch.tensor([1e-12, 1.0, 1e12], dtype=torch.float64)
    losses = torch.tensor([0.7, 2.0, 1.3], dtype=torch.float64)
    weighted = [
        weighting.weights(scaled) * scaled
        for scaled in (losses, losses * factors)
        for weighting in [STCH() if name == "STCH" else EXAMPLES[name]()]
    ]
    shares = [part / part.sum() for part in weighted]
    torch.testing.assert_close(shares[1], shares[0])


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_learned_scales_stay_finite_on_extreme_losses(scale: float) -> None:
    for weighting in (EXAMPLES["UncertaintyWeighting"](), IMTLL()):
        weighting.tasks = TASKS
        for _ in range(20):
            losses = torch.tensor([1.0, 3.0, 0.2]) * scale
            weighting.update(losses)
            assert torch.isfinite(weighting.weights(losses)).all()
