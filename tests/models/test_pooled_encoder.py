import torch

from lightning_mtl.models import PooledEncoder


def test_each_task_gets_one_vector_per_image():
    network = PooledEncoder({"Male": 1, "hair": 4}).eval()
    predictions = network(torch.rand(2, 3, 64, 96))
    assert predictions["Male"].shape == (2, 1)
    assert predictions["hair"].shape == (2, 4)


def test_a_prediction_is_that_of_the_mean_features():
    network, image = PooledEncoder({"Male": 1}).eval(), torch.rand(1, 3, 64, 64)
    features = network.encoder((image - network.mean) / network.std)[-1]
    expected = network.heads["Male"](features.mean((2, 3)))
    assert torch.allclose(network(image)["Male"], expected)
