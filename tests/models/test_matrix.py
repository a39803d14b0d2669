"""Every network on three encoders: shapes, gradients, sharing, export, compilation, training."""

import lightning as L
import pytest
import torch
from torch import Tensor

from lightning_mtl.callbacks import AlternatingUpdates, Weighting
from tests.support.architectures import (
    ARCHITECTURES,
    CASES,
    built,
    channels_of,
    loader,
    training_module,
)
from tests.support.ranks import results_of
from tests.support.rooms import ROOMS_EXAMPLES
from tests.support.sharing import differences, roots_of
from tests.support.toy import quiet_trainer
from tests.support.weightings import ROUTES

EVERY = pytest.mark.parametrize(
    ("name", "encoder"), CASES, ids=[f"{n}-{e.removeprefix('tu-')}" for n, e in CASES]
)
FIRST = pytest.mark.parametrize("name", ARCHITECTURES)
SIZE = (50, 70)


def image(*size: int) -> Tensor:
    torch.manual_seed(1)
    return torch.rand(2, 3, *size)


def smallest_encoder(name: str) -> str:
    return ARCHITECTURES[name].encoders[-1]


@pytest.mark.slow
@EVERY
def test_it_predicts_and_learns_at_odd_sizes(name: str, encoder: str) -> None:
    network = built(name, encoder)
    found = network(image(*SIZE))
    size = SIZE if ARCHITECTURES[name].dense else ()
    assert {task: tuple(prediction.shape) for task, prediction in found.items()} == {
        task: (2, channels, *size) for task, channels in channels_of(name).items()
    }
    sum(roots_of(network, image(*SIZE)).values()).backward()
    without = [n for n, p in network.named_parameters() if p.requires_grad and p.grad is None]
    # Adversarial training differentiates a loss, which the test of training does.
    assert [n for n in without if not n.startswith("discriminator.")] == []


@pytest.mark.slow
@EVERY
def test_what_tasks_share_is_what_a_list_says(name: str, encoder: str) -> None:
    expected = ARCHITECTURES[name].sharing
    network = built(name, encoder)
    listed = expected(network) if callable(expected) else expected
    assert differences(network, image(64, 64), listed) == {}


@pytest.mark.slow
@EVERY
def test_an_exported_network_gives_the_same_numbers(name: str, encoder: str) -> None:
    network, inputs = built(name, encoder).eval(), image(*SIZE)
    program = torch.export.export(network, (inputs,))
    with torch.no_grad():
        found, expected = program.module()(inputs), network(inputs)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@EVERY
def test_the_compiler_traces_it_forth_and_back_as_one_graph(name: str, encoder: str) -> None:
    compiled_equals_plain(name, encoder, "aot_eager")


@pytest.mark.slow
@FIRST
def test_it_is_compiled_to_kernels(name: str) -> None:
    compiled_equals_plain(name, smallest_encoder(name), "inductor")


def compiled_equals_plain(name: str, encoder: str, backend: str) -> None:
    network, inputs = built(name, encoder).eval(), image(64, 64)
    expected = network(inputs)
    found = torch.compile(network, backend=backend, fullgraph=True)(inputs)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)
    parameters = [p for p in network.parameters() if p.requires_grad]
    gradients = [
        torch.autograd.grad(
            sum(prediction.square().mean() for prediction in predictions.values()),
            parameters,
            allow_unused=True,
        )
        for predictions in (found, expected)
    ]
    for one, other in zip(*gradients, strict=True):
        # The compiler returns zeros where nothing is reached.
        other = torch.zeros_like(one) if one is not None and other is None else other
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-2)
    torch.compiler.reset()


def trains(name: str, encoder: str, weighting: Weighting | None) -> None:
    module = training_module(name, encoder)
    before = {n: p.detach().clone() for n, p in module.named_parameters() if p.requires_grad}
    callbacks: list[L.Callback] = [] if weighting is None else [weighting]
    trainer = quiet_trainer(max_steps=2, limit_val_batches=1, callbacks=callbacks)
    trainer.fit(module, loader(name), loader(name))
    assert trainer.global_step >= 2
    after = dict(module.named_parameters())
    assert all(torch.isfinite(p).all() for p in after.values())
    heads = [n for n in before if "head" in n or "tower" in n]
    # An absolute error may move a bias back by what it moved it forth.
    assert all(not torch.equal(before[n], after[n]) for n in heads if n.endswith("weight"))


WAYS = {"none": None, "alternating": AlternatingUpdates} | {
    route: ROOMS_EXAMPLES[example] for route, example in ROUTES.items()
}


@FIRST
def test_it_trains_where_gradients_are_measured_at_the_features(name: str) -> None:
    trains(name, smallest_encoder(name), ROOMS_EXAMPLES[ROUTES["Gramian at the features"]]())


@pytest.fixture(scope="module")
def two_ranks() -> dict[str, Tensor]:
    """How far replicas are apart after every network has trained on two gloo ranks."""
    return results_of("ddp_networks", timeout=1800)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["none", "MGDA"])
@FIRST
def test_two_ranks_stay_together(name: str, way: str, two_ranks: dict[str, Tensor]) -> None:
    assert two_ranks[f"{name} {way}"] == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@EVERY
def test_it_trains_by_every_route(name: str, encoder: str, way: str) -> None:
    weighting = WAYS[way]
    trains(name, encoder, None if weighting is None else weighting())
