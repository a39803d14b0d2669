"""A task-attentional module balances the states of two tasks and attends to their fusion."""

import pytest
import torch

from lightning_mtl.models.decoder_focused.task_attention import TaskAttention


def balanced(bias: float) -> TaskAttention:
    torch.manual_seed(0)
    module = TaskAttention(4).eval()
    with torch.no_grad():
        module.balance.weight.zero_()
        module.balance.bias.fill_(bias)
    return module


@pytest.mark.parametrize(("bias", "used"), [(100.0, 0), (-100.0, 1)], ids=["own", "other"])
def test_the_balance_gate_chooses_between_the_states(bias, used):
    states = [torch.rand(1, 4, 4, 4, requires_grad=True) for _ in range(2)]
    state = balanced(bias)(*states, torch.rand(1, 4, 8, 8))
    gradients = torch.autograd.grad(state.square().sum(), states)
    assert [bool(gradient.abs().max() > 0) for gradient in gradients] == [used == 0, used == 1]


def test_the_next_state_has_the_size_of_the_features_and_depends_on_them():
    skip = torch.rand(1, 4, 6, 10, requires_grad=True)
    state = TaskAttention(4)(torch.rand(1, 4, 3, 5), torch.rand(1, 4, 6, 10), skip)
    assert state.shape == skip.shape
    assert torch.autograd.grad(state.square().sum(), skip)[0].abs().max() > 0


@torch.no_grad()
def test_attention_only_adds_to_what_was_fused():
    module, found = TaskAttention(4).eval(), {}
    module.fusion.register_forward_hook(lambda _, __, out: found.update(fused=out))
    module.output.register_forward_hook(lambda _, inputs, __: found.update(joint=inputs[0]))
    module(*(torch.rand(1, 4, 4, 4) for _ in range(3)))
    fused, attended = found["fused"], found["joint"][:, :4]
    assert ((attended >= fused) & (attended <= 2 * fused)).all()
    assert (attended > fused).any()
