"""Optimizers that update all parameters in one kernel."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

__all__ = ["adapt_checkpoints", "fuse", "lay_out_gradients"]


def fuse(owner: str, optimizer: Optimizer) -> None:
    """Let an optimizer update all parameters in one kernel; called before its first step.

    It is asked through its parameter groups and not through its constructor. A loss scaler then
    divides the gradients before the step, as for any other optimizer, so that they can be clipped,
    which Lightning refuses where the fused step divides them itself.

    Args:
        owner: the class that is asked to do it, for messages.
        optimizer: one of torch that has such a kernel.

    Raises:
        ValueError: if it has none, or has been told to work in another way.
    """
    if "fused" not in optimizer.defaults:
        raise ValueError(
            f"`{owner}(fused=)` should be False for an optimizer without a fused step. Found"
            f" `{type(optimizer).__name__}`. Leave `fused` out, or take `torch.optim.Adam`, `AdamW`"
            " or `SGD`."
        )
    for other in ("foreach", "differentiable"):
        if any(group.get(other) for group in optimizer.param_groups):
            raise ValueError(
                f"`{owner}(fused=)` should be False for an optimizer with `{other}=True`. Found"
                f" `{type(optimizer).__name__}({other}=True)`. Leave out one of the two."
            )
    for group in optimizer.param_groups:
        group["fused"] = True


def adapt_checkpoints(optimizer: Optimizer) -> None:
    """Let checkpoints be loaded from runs whose step is fused, and from others.

    Otherwise a checkpoint decides whether the step is fused from then on, which reads averages
    wrongly that lie in memory in another way than the parameters. Called before one is loaded.

    Args:
        optimizer: any; one without a fused step is left as it is.
    """
    if "fused" in optimizer.defaults:
        optimizer.register_load_state_dict_pre_hook(_fused_as_before)
        optimizer.register_load_state_dict_post_hook(_lay_out_state)


def lay_out_gradients(optimizer: Optimizer) -> None:
    """Give gradients the memory layout of their parameters; called before each step.

    A fused kernel reads both number by number in the order in which they lie in memory. Other
    optimizers are left as they are.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"] if group.get("fused") else ():
            if parameter.grad is not None:
                parameter.grad = _laid_out_as(parameter, parameter.grad)


def _fused_as_before(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """The state of a checkpoint, with the choice of this run in place of that of another."""
    fused = any(group["fused"] for group in optimizer.param_groups)
    return state | {"param_groups": [group | {"fused": fused} for group in state["param_groups"]]}


def _lay_out_state(optimizer: Optimizer) -> None:
    """Give averages the layout of their parameters, which a checkpoint may have in another one."""
    for parameter, averages in optimizer.state.items():
        for name, value in averages.items():
            if isinstance(value, Tensor):
                averages[name] = _laid_out_as(parameter, value)


def _laid_out_as(parameter: Tensor, value: Tensor) -> Tensor:
    if value.shape != parameter.shape or value.layout != parameter.layout:
        return value
    if value.stride() == parameter.stride():
        return value
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)
