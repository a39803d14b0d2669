"""Hooks that a user has put on tensors to look at their gradients or to change them.

Autograd runs the hooks of a tensor wherever a gradient arrives at it: when a task's gradient is
taken there, and again when it is written to `.grad` or sent on into the trunk. Plain training runs
them once.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor
from torch.utils.hooks import RemovableHandle


def count_handles() -> int:
    """How many hooks have been registered so far in this process, on tensors and elsewhere.

    A hook on an intermediate tensor is registered after the tensor was computed. So there is none
    where this number is the same before a forward pass and after it.
    """
    return RemovableHandle.next_id


@contextmanager
def held_back(leaves: Sequence[Tensor]) -> Iterator[None]:
    """Do not run the tensor hooks of these leaves, as their gradients have passed them already.

    Other hooks of a leaf run: those after the accumulation, and DDP's, which reduces gradients.
    """
    # Emptied and filled again: autograd holds on to these very dicts.
    hooks = [leaf._backward_hooks for leaf in leaves if leaf._backward_hooks]
    before = [dict(registered) for registered in hooks]
    for registered in hooks:
        registered.clear()
    try:
        yield
    finally:
        for registered, content in zip(hooks, before, strict=True):
            registered.update(content)
