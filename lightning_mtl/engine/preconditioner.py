"""What Adam divides a gradient by, as a metric of the parameters."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_mtl.engine.gradients import real, wide_dtype
from lightning_mtl.linalg.host import on_host


class Preconditioner:
    """The diagonal D = √v̂ + ε of an optimizer of the family of Adam.

    An update of Adam is D⁻¹ g but for its momentum, so that g_iᵀ D⁻¹ g_j is how much a step for
    task j lowers the loss of task i.

    Args:
        optimizer: whose second moments these are.
    """

    def __init__(self, optimizer: Any) -> None:
        defaults = getattr(optimizer, "defaults", {})
        if "betas" not in defaults or "eps" not in defaults:
            raise ValueError(
                '`metric="preconditioned"` should go with an optimizer that keeps second moments,'
                f" such as `torch.optim.Adam`. Found `{type(optimizer).__name__}`. Use one of"
                ' these, or `metric="euclidean"`.'
            )
        self._optimizer = optimizer

    def divisors(self, parameters: Sequence[Tensor]) -> list[Tensor] | None:
        """D by parameter; `None` before the first step, when there are no moments yet.

        Raises:
            ValueError: if the optimizer keeps no second moments.
        """
        groups = {p: group for group in self._optimizer.param_groups for p in group["params"]}
        states = [self._optimizer.state.get(parameter, {}) for parameter in parameters]
        if not any(states):
            return None
        moments, corrections, added = [], [], []
        for parameter, state in zip(parameters, states, strict=True):
            if state:
                self._check(state)
                group = groups[parameter]
                moments.append(real(state.get("max_exp_avg_sq", state["exp_avg_sq"])))
                corrections.append(1 - group["betas"][1] ** _count(state["step"]))
                added.append(group["eps"])
            else:
                # Thawed only now: its gradient counts as it is.
                moments.append(torch.ones_like(real(parameter.detach())))
                corrections.append(1.0)
                added.append(0.0)
        if len({type(correction) for correction in corrections}) == 1:
            # A few kernels for all parameters.
            divisors = list(torch._foreach_div(moments, corrections))
        else:
            divisors = [m / correction for m, correction in zip(moments, corrections, strict=True)]
        torch._foreach_sqrt_(divisors)
        torch._foreach_add_(divisors, added)
        return divisors

    def _check(self, state: dict[str, Any]) -> None:
        if "exp_avg_sq" not in state:
            raise ValueError(
                '`metric="preconditioned"` should go with an optimizer that keeps second moments,'
                f" under the name `exp_avg_sq`. Found `{type(self._optimizer).__name__}` with"
                f' {sorted(state)}. Use `torch.optim.Adam`, say, or `metric="euclidean"`.'
            )


def _count(step: Any) -> Any:
    """How many steps were taken, in enough digits for 1 - β^step.

    It is counted on the host or on the device, where it is not waited for.
    """
    if not isinstance(step, Tensor):
        return step
    return float(step) if on_host(step) else step.to(wide_dtype(step.device))
