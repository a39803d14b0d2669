"""Parts of a batch with unequal numbers of labels give what one batch gives, on every route."""

from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_mtl import DensePrediction
from lightning_mtl.models import DenseNetwork
from lightning_mtl.tasks import Depth, Normals, Segmentation
from tests.support.counted import ROUTES_OF_ALL_PARTS, train_routes
from tests.support.ranks import results_of
from tests.support.rooms import ROOMS_EXAMPLES
from tests.support.toy import parameters, quiet_trainer
from tests.support.weightings import has_moved

every_route = pytest.mark.parametrize("name", ROUTES_OF_ALL_PARTS)


@pytest.fixture(scope="module")
def whole() -> dict[str, Tensor]:
    return train_routes(devices=1, accumulate=1)


@pytest.fixture(scope="module")
def halves() -> dict[str, Tensor]:
    return train_routes(devices=1, accumulate=2)


@pytest.fixture(scope="module")
def ranks() -> dict[int, dict[str, Tensor]]:
    return results_of("ddp_counts")


def assert_equal(parts: Tensor, whole: Tensor) -> None:
    torch.testing.assert_close(parts, whole, atol=2e-5, rtol=1e-4)


@every_route
def test_accumulated_losses_count_by_their_labels(name: str, halves, whole) -> None:
    assert_equal(halves[name], whole[name])
    assert has_moved(name, whole[f"weights {name}"])


@every_route
@pytest.mark.parametrize("accumulate", [1, 2])
def test_losses_of_ranks_count_by_their_labels(name: str, accumulate: int, ranks, whole) -> None:
    assert_equal(ranks[accumulate][name], whole[name])


class Pixelwise(DenseNetwork):
    """Two layers and a head for each task, which see one pixel each."""

    def __init__(self, channels: dict[str, int]) -> None:
        super().__init__(stride=1)
        self.trunk = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Tanh(), nn.Conv2d(6, 6, 1), nn.Tanh())
        self.heads = nn.ModuleDict({task: nn.Conv2d(6, n, 1) for task, n in channels.items()})

    def predict(self, image: Tensor) -> dict[str, Tensor]:
        features = self.trunk(image)
        return {task: head(features) for task, head in self.heads.items()}


@cache
def frames() -> list[dict[str, Tensor]]:
    """Two batches of four frames; the first halves have few labels, and one of them no depth."""
    generator = torch.Generator().manual_seed(1)
    found = []
    for index in range(8):
        frame = {
            "image": torch.rand(3, 8, 8, generator=generator),
            "one": torch.rand(1, 8, 8, generator=generator) + 0.5,
            "two": torch.randint(0, 5, (8, 8), generator=generator),
            "three": nn.functional.normalize(torch.randn(3, 8, 8, generator=generator), dim=0),
        }
        if index % 4 < 2:
            frame["one"][:, 0 if index > 3 else 2 :] = 0
            frame["two"][1:] = 255
            frame["three"][:, 5:] = 0
        found.append(frame)
    return found


def trained(name: str | None, accumulate: int) -> Tensor:
    torch.manual_seed(7)
    tasks = [Depth("one"), Segmentation(5, "two"), Normals("three")]
    module = DensePrediction(tasks, Pixelwise, lambda p: torch.optim.SGD(p, lr=0.2))
    trainer = quiet_trainer(
        callbacks=[ROOMS_EXAMPLES[name]()] if name else [],
        accumulate_grad_batches=accumulate,
        max_epochs=3,
    )
    batches = DataLoader(frames(), batch_size=4 // accumulate)
    trainer.fit(module, batches, DataLoader(frames(), batch_size=4))
    assert trainer.global_step == 6
    return parameters(module)


@pytest.mark.parametrize("name", [None, *ROUTES_OF_ALL_PARTS])
def test_accumulated_halves_of_masked_frames_equal_one_batch(name: str | None) -> None:
    assert_equal(trained(name, accumulate=2), trained(name, accumulate=1))
