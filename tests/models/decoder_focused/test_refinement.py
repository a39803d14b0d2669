"""The networks that refine initial features start from a pyramid or from the deepest stage."""

import pytest
import torch

from lightning_mtl.models.decoder_focused.pad_net import PADNet

CHANNELS = {"segmentation": 2, "depth": 1}


@pytest.mark.parametrize(
    ("source", "output_stride", "side"),
    [("fpn", 32, 16), ("deepest", 8, 8), ("deepest", 16, 4), ("deepest", 32, 2)],
)
def test_predictions_are_made_at_the_size_of_the_source(source, output_stride, side):
    network = PADNet(CHANNELS, source=source, output_stride=output_stride, width=8).eval()
    with torch.no_grad():
        predictions = network.predict_all(torch.rand(1, 3, 64, 64))
    sides = {prediction.shape[-1] for of_task in predictions.values() for prediction in of_task}
    assert sides == {side}


def test_all_tasks_share_one_pyramid():
    network = PADNet(CHANNELS, width=8)
    parameters = sum(parameter.numel() for parameter in network.source.parameters())
    more = PADNet(CHANNELS | {"normals": 3}, width=8)
    assert sum(parameter.numel() for parameter in more.source.parameters()) == parameters


@pytest.mark.parametrize("output_stride", [8, 16])
def test_a_pyramid_refuses_a_dilated_encoder(output_stride):
    with pytest.raises(ValueError, match=rf'32 with `source="fpn"`. Found {output_stride}'):
        PADNet(CHANNELS, output_stride=output_stride)


def test_an_unknown_source_is_an_error():
    with pytest.raises(ValueError, match=r'`PADNet\(source=\)` should be one of "fpn", "deepest"'):
        PADNet(CHANNELS, source="middle")


@pytest.mark.parametrize("width", [0, 10])
def test_bottlenecks_need_a_width_that_four_divides(width):
    with pytest.raises(ValueError, match=rf"`PADNet\(width=\)` .* multiple of 4, .* {width}\."):
        PADNet(CHANNELS, width=width)
