"""Every network on three encoders: shapes, gradients, sharing, export, compilation, training."""

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_mtl import DensePrediction
from lightning_mtl.callbacks import AlternatingUpdates, Weighting
from lightning_mtl.tasks import Classification, Depth, Normals, Regression, Segmentation, Task
from tests.support.architectures import ARCHITECTURES, CASES, TASKS, built, channels_of
from tests.support.rooms import ROOMS_EXAMPLES
from tests.support.sharing import differences, roots_of
from tests.support.toy import quiet_trainer
from tests.support.weightings import ROUTES

EVERY = pytest.mark.parametrize(("name", "encoder"), CASES)
FIRST = pytest.mark.parametrize("name", ARCHITECTURES)
SIZE = (50, 70)


def image(*size: int) -> Tensor:
    torch.manual_seed(1)
    return torch.rand(2, 3, *size)


def first_encoder(name: str) -> str:
    return ARCHITECTURES[name].encoders[0]


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


@EVERY
def test_what_tasks_share_is_what_a_list_says(name: str, encoder: str) -> None:
    expected = ARCHITECTURES[name].sharing
    network = built(name, encoder)
    listed = expected(network) if callable(expected) else expected
    assert differences(network, image(64, 64), listed) == {}


@EVERY
def test_an_exported_network_gives_the_same_numbers(name: str, encoder: str) -> None:
    network, inputs = built(name, encoder).eval(), image(*SIZE)
    program = torch.export.export(network, (inputs,))
    with torch.no_grad():
        found, expected = program.module()(inputs), network(inputs)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@EVERY
def test_it_is_traced_by_the_compiler_as_one_graph(name: str, encoder: str) -> None:
    network, inputs = built(name, encoder).eval(), image(64, 64)
    expected = network(inputs)
    found = torch.compile(network, backend="eager", fullgraph=True)(inputs)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    torch.compiler.reset()


@pytest.mark.slow
@FIRST
def test_it_compiles(name: str) -> None:
    network, inputs = built(name, first_encoder(name)), image(64, 64)
    expected = network.eval()(inputs)
    found = torch.compile(network)(inputs)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)
    sum(prediction.square().mean() for prediction in found.values()).backward()
    torch.compiler.reset()


def tasks_of(name: str) -> list[Task]:
    if ARCHITECTURES[name].dense:
        tasks = [Depth(name="one"), Segmentation(5, name="two"), Normals(name="three")]
    else:
        tasks = [Regression(1, name="one"), Classification(5, name="two")]
        tasks.append(Regression(3, name="three"))
    return tasks[: ARCHITECTURES[name].tasks]


def batch(name: str) -> dict[str, Tensor]:
    torch.manual_seed(2)
    if ARCHITECTURES[name].dense:
        normals = nn.functional.normalize(torch.randn(4, 3, 32, 40), dim=1)
        targets = (torch.rand(4, 1, 32, 40) + 1, torch.randint(5, (4, 32, 40)), normals)
    else:
        targets = (torch.rand(4, 1), torch.randint(5, (4,)), torch.rand(4, 3))
    return {"image": torch.rand(4, 3, 32, 40), **dict(zip(TASKS, targets, strict=True))}


def loader(name: str) -> DataLoader[dict[str, Tensor]]:
    whole = batch(name)
    keys = ["image", *(task.name for task in tasks_of(name))]
    return DataLoader([{key: whole[key][i] for key in keys} for i in range(4)], batch_size=2)


def trains(name: str, encoder: str, weighting: Weighting | None) -> None:
    torch.manual_seed(0)
    module = DensePrediction(
        tasks_of(name),
        lambda channels: ARCHITECTURES[name].build(channels, encoder),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1e-3),
    )
    before = {n: p.detach().clone() for n, p in module.named_parameters() if p.requires_grad}
    callbacks: list[L.Callback] = [] if weighting is None else [weighting]
    trainer = quiet_trainer(max_steps=2, limit_val_batches=1, callbacks=callbacks)
    trainer.fit(module, loader(name), loader(name))
    assert trainer.global_step >= 2
    after = dict(module.named_parameters())
    assert all(torch.isfinite(p).all() for p in after.values())
    heads = [n for n in before if "head" in n or "tower" in n]
    assert all(not torch.equal(before[n], after[n]) for n in heads if n.endswith("bias"))


WAYS = {"none": None, "alternating": AlternatingUpdates} | {
    route: ROOMS_EXAMPLES[example] for route, example in ROUTES.items()
}


@FIRST
def test_it_trains_where_gradients_are_measured_at_the_features(name: str) -> None:
    encoder = ARCHITECTURES[name].encoders[-1]
    trains(name, encoder, ROOMS_EXAMPLES[ROUTES["Gramian at the features"]]())


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@EVERY
def test_it_trains_by_every_route(name: str, encoder: str, way: str) -> None:
    weighting = WAYS[way]
    trains(name, encoder, None if weighting is None else weighting())
