"""A new network: one class with `predict`, given by its name wherever those of the package are."""

import inspect
from collections.abc import Callable, Mapping

import jsonargparse
import pytest
import torch
from torch import Tensor, nn

from lightning_mtl import DensePrediction, models
from lightning_mtl.callbacks import MGDA
from lightning_mtl.models import DenseNetwork, SharedEncoder
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


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
def test_images_may_have_any_number_of_channels(channels: int) -> None:
    network = SharedEncoder({"depth": 1}, "tu-test_resnet", in_channels=channels)
    assert network(torch.rand(2, channels, 40, 64))["depth"].shape == (2, 1, 40, 64)


def test_channels_after_rgb_are_passed_on_as_they_are() -> None:
    class Same(DenseNetwork):
        def predict(self, image: Tensor) -> dict[str, Tensor]:
            return {"same": image}

    image = torch.rand(2, 5, 8, 8)
    plain, more = Same(4)(image[:, :3])["same"], Same(4, in_channels=5)(image)["same"]
    assert torch.equal(more[:, :3], plain)
    assert torch.equal(more[:, 3:], image[:, 3:])
    grey = Same(4, in_channels=1)(image[:, :1])["same"]
    torch.testing.assert_close(grey, (image[:, :1] - 0.449) / 0.226, atol=1e-3, rtol=1e-3)


def test_images_of_other_channels_are_an_error_that_names_the_argument() -> None:
    network = SharedEncoder({"depth": 1}, "tu-test_resnet")
    message = r"shape \(N, 3, H, W\)\. Found \(2, 4, 64, 64\)\. Set `SharedEncoder\(in_channels=\)`"
    with pytest.raises(ValueError, match=message):
        network(torch.rand(2, 4, 64, 64))
    with pytest.raises(ValueError, match=r"`SharedEncoder\(in_channels=\)` should be at least 1"):
        SharedEncoder({"depth": 1}, in_channels=0)


def networks() -> list[type]:
    kinds = [getattr(models, name) for name in models.__all__]
    bases = (DenseNetwork, models.DeeplySupervisedNetwork, models.LeNet)
    return [kind for kind in kinds if issubclass(kind, DenseNetwork) and kind not in bases]


@pytest.mark.parametrize("kind", networks(), ids=lambda kind: kind.__name__)
def test_every_network_takes_channels_encoder_and_its_weights_first_and_in_channels(
    kind: type,
) -> None:
    names = list(inspect.signature(kind).parameters)
    assert names[:3] == ["channels", "encoder", "encoder_weights"]
    assert "in_channels" in names


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        ({"decoder": "deeplabv3", "output_stride": 8}, (64, 96)),
        ({"decoder": "unet"}, (32, 32)),
        ({"decoder": "unet"}, (20, 32)),
    ],
    ids=["pooled branch", "one pixel", "smaller than the stride"],
)
def test_one_image_that_batch_norm_cannot_train_on_is_an_error_that_says_what_to_do(
    arguments: dict[str, str | int], size: tuple[int, int]
) -> None:
    network = SharedEncoder({"depth": 1}, **arguments)
    height, width = size
    message = rf"Found one image of {height} x {width}, .* Raise `batch_size`.*`drop_last=True`"
    with pytest.raises(ValueError, match=message):
        network(torch.rand(1, 3, *size))
    assert network(torch.rand(2, 3, *size))["depth"].shape == (2, 1, *size)
    assert network.eval()(torch.rand(1, 3, *size))["depth"].shape == (1, 1, *size)


def test_initial_predictions_are_trained_on_two_images_or_more_as_well() -> None:
    network = models.PADNet({"depth": 1, "edges": 1}, "tu-test_resnet", width=8)
    with pytest.raises(ValueError, match=r"`PADNet` .* Found one image of 20 x 20"):
        network.supervised(torch.rand(1, 3, 20, 20))
