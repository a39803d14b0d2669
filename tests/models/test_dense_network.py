"""A new network: one class with `predict`, given by its name wherever those of the package are."""

from collections.abc import Callable, Mapping

import jsonargparse
import torch
from torch import Tensor, nn

from lightning_mtl import DensePrediction
from lightning_mtl.callbacks import MGDA
from lightning_mtl.models import DenseNetwork
from lightning_mtl.tasks import Depth, Segmentation
from tests.support.toy import quiet_trainer
from tests.test_dense_prediction import rooms


class Plain(DenseNetwork):
    """Two strided convolutions that tasks share, and a 1 x 1 convolution for each of them."""

    def __init__(self, channels: Mapping[str, int], width: int = 8) -> None:
        super().__init__(stride=4)
        self.encoder = nn.Sequential(
            *(nn.Conv2d(3, width, 3, 2, 1), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, 2, 1), nn.ReLU()),
        )
        self.heads = nn.ModuleDict({task: nn.Conv2d(width, n, 1) for task, n in channels.items()})

    def predict(self, image: Tensor) -> dict[str, Tensor]:
        features = self.encoder(image)
        return {task: head(features) for task, head in self.heads.items()}


def given(
    network: Callable[[dict[str, int]], DenseNetwork],
) -> Callable[[dict[str, int]], DenseNetwork]:
    return network


def test_a_network_of_ones_own_trains_with_a_weighting_that_finds_what_is_shared():
    module = DensePrediction([Segmentation(5), Depth()], network=Plain)
    before = [parameter.detach().clone() for parameter in module.parameters()]
    trainer = quiet_trainer(max_steps=1, limit_val_batches=1, callbacks=[MGDA()])
    trainer.fit(module, rooms(2), rooms(2))
    assert "val/depth/RMSE" in trainer.callback_metrics
    changed = zip(before, module.parameters(), strict=True)
    assert all(not torch.equal(old, new) for old, new in changed)


def test_its_predictions_have_the_size_of_the_image_whatever_its_stride():
    predictions = Plain({"segmentation": 5, "depth": 1})(torch.rand(2, 3, 30, 45))
    assert predictions["segmentation"].shape == (2, 5, 30, 45)
    assert predictions["depth"].shape == (2, 1, 30, 45)


def test_it_is_built_from_yaml():
    text = f"{{class_path: {__name__}.Plain, init_args: {{width: 4}}}}"
    build = jsonargparse.auto_cli(given, args=["--network", text], as_positional=False)
    network = build({"depth": 1})
    assert isinstance(network, Plain)
    assert network.heads["depth"].in_channels == 4
