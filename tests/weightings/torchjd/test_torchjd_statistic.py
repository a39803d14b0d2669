"""Every object of TorchJD receives the statistic that its class is declared for."""

from itertools import product
from typing import TypeVar, get_args

import pytest
import torch
from torch import Tensor

from lightning_mtl.callbacks import MoDo, SDMGrad, TorchJDWeighting
from lightning_mtl.weightings.torchjd.torchjd_statistic import Statistic
from tests.support.jacobians import random_jacobian
from tests.support.torchjd_objects import OBJECTS, build, jd, not_dpp
from tests.support.toy import Toy, parameters, quiet_trainer, toy_loader

linalg = pytest.importorskip("torchjd.linalg")

WEIGHTINGS = [name for name in OBJECTS if name.endswith("Weighting")]
PAIRED = [name for name in OBJECTS if f"{name}Weighting" in OBJECTS]


def test_every_class_has_an_example() -> None:
    assert set(OBJECTS) == set(jd.__all__) - {"Aggregator", "Weighting"}


@pytest.mark.parametrize("name", PAIRED)
def test_a_weighting_gives_the_direction_of_its_aggregator(name: str) -> None:
    alone, whole = TorchJDWeighting(build(f"{name}Weighting")), TorchJDWeighting(build(name))
    literal = build(name)
    for seed in range(5):
        rows = random_jacobian(3, 9, seed).float()
        found = alone.combine(torch.ones(3), rows)
        assert found.norm() > 0
        assert torch.equal(whole.combine(torch.ones(3), rows), found)
        if name not in ("Random", "PCGrad", "GradVac"):
            torch.testing.assert_close(found, literal(rows))


@not_dpp
@pytest.mark.parametrize("name", ["ConFIG", "NashMTL", "TrimmedMean", "WeightedAggregator"])
def test_an_aggregator_without_a_twin_gives_its_own_direction(name: str) -> None:
    adapted, literal = TorchJDWeighting(build(name)), build(name)
    for seed in range(5):
        rows = random_jacobian(3, 9, seed).float()
        torch.testing.assert_close(adapted.combine(torch.ones(3), rows), literal(rows))


@pytest.mark.parametrize(
    ("name", "stated"),
    [(n, s) for n, s in product(WEIGHTINGS, get_args(Statistic))],
)
def test_a_statistic_that_contradicts_the_class_is_refused(name: str, stated: Statistic) -> None:
    weighting = build(name)
    if TorchJDWeighting(weighting).statistic == stated:
        assert TorchJDWeighting(weighting, stated).statistic == stated
        return
    with pytest.raises(ValueError, match=rf"`{name}` should receive .*Found .*from `statistic`"):
        TorchJDWeighting(weighting, stated)


@pytest.mark.parametrize(
    ("wrap", "inner"),
    [
        (lambda: jd.GramianWeightedAggregator, "ExcessMTLWeighting"),
        (lambda: jd.GramianWeightedAggregator, "MoDoWeighting"),
        (lambda: jd.WeightedAggregator, "MGDAWeighting"),
    ],
    ids=["ExcessMTL", "MoDo", "MGDA"],
)
def test_an_aggregator_that_contradicts_its_weighting_is_refused(wrap, inner: str) -> None:
    aggregator = wrap()(build(inner))
    name = type(aggregator).__name__
    with pytest.raises(ValueError, match=f"`{inner}` should receive .*from `{name}`"):
        TorchJDWeighting(aggregator)


def test_an_aggregator_takes_no_statistic() -> None:
    with pytest.raises(
        ValueError, match=r"should go with a Weighting.*Aggregator `MGDA`.*Leave `statistic`"
    ):
        TorchJDWeighting(jd.MGDA(), statistic="jacobian")


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_a_wrapped_weighting_receives_what_the_inner_one_does(name: str) -> None:
    inner = build(name)
    wrapped = TorchJDWeighting(jd.CRMOGMWeighting(inner))
    assert wrapped.statistic == TorchJDWeighting(inner).statistic


def test_a_class_of_the_user_says_what_it_receives_by_its_base() -> None:
    class OfGramian(jd.Weighting[linalg.PSDMatrix]):
        def forward(self, stat: Tensor, /) -> Tensor:
            return stat.diagonal()

    class OfJacobian(jd.Weighting[linalg.Matrix]):
        def forward(self, stat: Tensor, /) -> Tensor:
            return stat.abs().sum(1)

    class Derived(OfGramian):
        pass

    rows = random_jacobian(3, 9)
    for kind, weights in (
        (OfGramian, rows.square().sum(1)),
        (Derived, rows.square().sum(1)),
        (OfJacobian, rows.abs().sum(1)),
    ):
        found = TorchJDWeighting(kind()).combine(torch.ones(3), rows)
        torch.testing.assert_close(found, weights @ rows)


def test_a_class_that_leaves_its_statistic_open_needs_it_from_the_user() -> None:
    kind = TypeVar("kind")

    class Open(jd.Weighting[kind]):
        def forward(self, stat: Tensor, /) -> Tensor:
            return stat.abs().sum(1)

    with pytest.raises(
        ValueError, match=r"`Open` should derive from .*Found neither.*Pass `statistic=`"
    ):
        TorchJDWeighting(Open())
    rows = random_jacobian(3, 9)
    found = TorchJDWeighting(Open(), statistic="jacobian").combine(torch.ones(3), rows)
    torch.testing.assert_close(found, rows.abs().sum(1) @ rows)


def test_an_aggregator_with_a_way_of_its_own_is_called_as_a_whole() -> None:
    class Doubled(jd.MGDA):
        def forward(self, matrix: Tensor, /) -> Tensor:
            return 2 * super().forward(matrix)

    rows = random_jacobian(3, 9)
    weighting = TorchJDWeighting(Doubled())
    assert torch.equal(weighting.combine(torch.ones(3), rows), 2 * jd.MGDA()(rows))
    module = Toy()
    quiet_trainer(max_steps=1, callbacks=[weighting]).fit(module, toy_loader())
    assert module.task_weights == {}


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_double_sampling_uses_different_micro_batches(parts: int) -> None:
    """As this package's own rules do, which agree with TorchJD's on one matrix."""

    def trained(weighting) -> Tensor:
        module = Toy()
        trainer = quiet_trainer(max_steps=4, accumulate_grad_batches=parts, callbacks=[weighting])
        trainer.fit(module, toy_loader())
        return parameters(module)

    for theirs, ours in (
        (jd.SDMGradWeighting(), SDMGrad()),
        (jd.MoDoWeighting(gamma=0.01, rho=0.1), MoDo(gamma=0.01, rho=0.1)),
    ):
        torch.testing.assert_close(trained(TorchJDWeighting(theirs)), trained(ours))
