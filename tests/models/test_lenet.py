import pytest
import torch

from lightning_mtl.models import LeNet


@pytest.mark.parametrize("size", [28, 36])
def test_each_task_gets_one_vector_per_image(size):
    network = LeNet({"left": 10, "right": 7}, size)
    predictions = network(torch.rand(3, 3, size, size))
    assert {task: tuple(value.shape) for task, value in predictions.items()} == {
        "left": (3, 10),
        "right": (3, 7),
    }


def test_it_has_the_size_of_the_paper():
    """750 + 10 + 5000 + 20 + 16000 + 50 shared, 2500 + 50 + 500 + 10 per task."""
    network = LeNet({"left": 10, "right": 10})
    assert sum(parameter.numel() for parameter in network.trunk.parameters()) == 21830
    assert sum(parameter.numel() for parameter in network.heads.parameters()) == 2 * 3060


def test_images_of_another_size_are_an_error_that_says_what_to_do():
    with pytest.raises(ValueError, match=r"of 28 x 28. Found 36 x 36. .*one `size`"):
        LeNet({"left": 10})(torch.rand(1, 3, 36, 36))


@pytest.mark.parametrize("arguments", [{"size": 30}, {"size": 12}, {"dropout": 1.5}])
def test_arguments_out_of_range_are_errors(arguments):
    with pytest.raises(ValueError, match="Found"):
        LeNet({"left": 10}, **arguments)


def test_features_drop_out_in_training_only():
    network, image = LeNet({"left": 10}), torch.rand(2, 3, 28, 28)
    assert not torch.equal(network(image)["left"], network(image)["left"])
    network.eval()
    assert torch.equal(network(image)["left"], network(image)["left"])
