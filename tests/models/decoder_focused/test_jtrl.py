"""Two tasks take turns, each from its previous state and the latest of the other."""

import pytest
import torch

from lightning_mtl.models.decoder_focused.jtrl import JTRL

CHANNELS = {"depth": 1, "segmentation": 2}
ENCODER = "tu-test_resnet"


def test_predictions_are_made_at_four_increasing_resolutions():
    with torch.no_grad():
        predictions = JTRL(CHANNELS, ENCODER, width=8).eval().predict_all(torch.rand(1, 3, 64, 64))
    for task, channels in CHANNELS.items():
        assert [tuple(each.shape) for each in predictions[task]] == [
            (1, channels, side, side) for side in (2, 4, 8, 16)
        ]


def test_each_prediction_uses_the_turns_up_to_its_own():
    network = JTRL(CHANNELS, ENCODER, width=8).eval()
    predictions = network.predict_all(torch.rand(1, 3, 64, 64))
    turns = [turn.output[0].weight for turn in network.turns]
    for scale in range(4):
        for place, task in enumerate(CHANNELS):
            gradients = torch.autograd.grad(
                predictions[task][scale].square().sum(),
                turns,
                retain_graph=True,
                allow_unused=True,
            )
            last = 2 * scale + place
            assert [gradient is not None for gradient in gradients] == [
                turn <= last for turn in range(8)
            ]


@torch.no_grad()
def test_a_turn_is_given_the_previous_state_of_its_task_and_the_latest_of_the_other():
    network = JTRL(CHANNELS, ENCODER, width=8).eval()
    inputs, states = [], []
    for turn in network.turns:
        turn.register_forward_pre_hook(lambda _, given: inputs.append(given))
        turn.register_forward_hook(lambda _, __, state: states.append(state))
    network(torch.rand(1, 3, 64, 64))
    for turn in range(2, 8):
        own, other, _ = inputs[turn]
        assert own is states[turn - 2]
        assert other is states[turn - 1]
    start, _, coarsest = inputs[0]
    assert start is coarsest
    assert inputs[1][0] is coarsest


@pytest.mark.parametrize(
    "channels",
    [{"depth": 1}, {"depth": 1, "segmentation": 2, "normals": 3}, {}],
    ids=["one", "three", "none"],
)
def test_other_than_two_tasks_are_an_error_that_names_the_remedy(channels):
    with pytest.raises(ValueError, match=r"exactly two tasks.* Found .*`PADNet` or `MTINet`"):
        JTRL(channels)


def test_states_without_channels_are_an_error():
    with pytest.raises(ValueError, match=r"`JTRL\(width=\)` should be at least 1. Found 0"):
        JTRL(CHANNELS, width=0)
