"""Parameters and multiply-adds of a network, by the tasks that need them."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from lightning_mtl.models import MTAN, DeeplySupervisedNetwork, SharedEncoder
from lightning_mtl.models.cost import Cost, network_cost

CHANNELS = {"segmentation": 5, "depth": 1}


class Counted(nn.Module):
    """One convolution that tasks share, one for each, an attention, and a layer without a use."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.heads = nn.ModuleDict({"a": nn.Conv2d(4, 2, 1), "b": nn.Conv2d(4, 1, 1, bias=False)})
        self.unused = nn.Linear(5, 5)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        features = self.trunk(image)
        tokens = features.flatten(2)
        attended = (tokens @ tokens.transpose(1, 2)) @ tokens
        return {"a": self.heads["a"](features), "b": self.heads["b"](attended.view_as(features))}


def test_each_part_is_counted_for_whoever_needs_it() -> None:
    cost = network_cost(Counted(), torch.rand(1, 3, 6, 8))
    assert cost.shared == Cost(108, 108, 108 * 48)
    assert cost.tasks["a"] == Cost(10, 10, 8 * 48)
    # Two products of (4 x 48) and (48 x 4), and (4 x 4) and (4 x 48), belong to b as well.
    assert cost.tasks["b"] == Cost(4, 4, 4 * 48 + 2 * 4 * 4 * 48)
    assert cost.unused == Cost(30, 30, 0)
    assert cost.total == Cost(152, 152, (108 + 8 + 4 + 32) * 48)


def test_frozen_parameters_are_counted_and_not_trainable() -> None:
    network = Counted()
    network.trunk.requires_grad_(False)
    cost = network_cost(network, torch.rand(1, 3, 6, 8))
    assert cost.shared == Cost(108, 0, 108 * 48)
    assert not network.trunk.weight.requires_grad


@pytest.mark.filterwarnings("error")
def test_nothing_about_the_network_changes() -> None:
    network, image = SharedEncoder(CHANNELS, "tu-test_resnet"), torch.rand(1, 3, 64, 64)
    network.encoder.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random = torch.get_rng_state()
    network_cost(network, image)
    assert network.training
    assert not network.encoder.training
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_initial_predictions_count_as_well() -> None:
    class Deep(DeeplySupervisedNetwork):
        def __init__(self) -> None:
            super().__init__(stride=1)
            self.initial, self.final = nn.Conv2d(3, 1, 1), nn.Conv2d(3, 1, 1)

        def predict_all(self, image: Tensor) -> dict[str, list[Tensor]]:
            return {"a": [self.initial(image), self.final(image)]}

    assert network_cost(Deep(), torch.rand(1, 3, 4, 4)).tasks["a"].parameters == 8


def found(network: nn.Module, size: tuple[int, int]) -> tuple[Mapping[str, Cost], Cost, Cost]:
    cost = network_cost(network, torch.empty(1, 3, *size, device="meta"))
    return cost.tasks, cost.shared, cost.total


def test_hard_sharing_has_the_size_and_the_cost_of_the_survey() -> None:
    """133 G and 56 M for two tasks of NYUD, 192 G for one network: half of ours for two tasks."""
    published = {"encoder": "resnet50", "decoder": "deeplabv3", "output_stride": 8}
    with torch.device("meta"):
        both = SharedEncoder({"segmentation": 40, "depth": 1}, **published)
        one = SharedEncoder({"segmentation": 40}, **published)
        mtan = MTAN({"segmentation": 40, "depth": 1}, **published)
    tasks, shared, total = found(both, (480, 640))
    assert total.multiply_adds / 2 == pytest.approx(133e9, rel=0.01)
    assert total.parameters == pytest.approx(56e6, rel=0.01)
    assert shared.multiply_adds + sum(own.multiply_adds for own in tasks.values()) == (
        total.multiply_adds
    )
    assert found(one, (480, 640))[2].multiply_adds == pytest.approx(192e9, rel=0.01)
    assert found(mtan, (480, 640))[2].multiply_adds / 2 == pytest.approx(197e9, rel=0.01)
