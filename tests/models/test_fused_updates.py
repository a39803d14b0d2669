"""Fused steps, which read parameters, gradients and averages in the order of memory."""

import torch
from torch import Tensor, nn

from lightning_mtl.models.fused_updates import adapt_checkpoints, fuse, lay_out_gradients


def parameter(layout: torch.memory_format = torch.channels_last) -> nn.Parameter:
    torch.manual_seed(0)
    return nn.Parameter(torch.randn(4, 3, 2, 2).to(memory_format=layout))


def gradient() -> Tensor:
    return torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(1))


def stepped(weight: nn.Parameter, fused: bool, before: Tensor | None = None) -> Tensor:
    """The parameter after a step, which may go on from an average of gradients."""
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    if fused:
        fuse("Test", optimizer)
    adapt_checkpoints(optimizer)
    if before is not None:
        saved = {"state": {0: {"momentum_buffer": before.clone()}}}
        optimizer.load_state_dict(saved | {"param_groups": optimizer.state_dict()["param_groups"]})
    weight.grad = gradient()
    lay_out_gradients(optimizer)
    optimizer.step()
    return weight.detach()


def test_gradients_in_another_layout_are_read_right() -> None:
    torch.testing.assert_close(stepped(parameter(), True), stepped(parameter(), False))


def test_averages_in_another_layout_are_read_right() -> None:
    average = 3 * gradient()
    expected = stepped(parameter(), False, average)
    torch.testing.assert_close(stepped(parameter(), True, average), expected)


def test_what_lies_like_its_parameter_is_not_copied() -> None:
    weight = parameter(torch.contiguous_format)
    weight.grad = own = gradient()
    lay_out_gradients(torch.optim.SGD([weight], lr=0.1))
    assert weight.grad is own
