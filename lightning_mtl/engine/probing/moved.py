"""Which parameters a probe moves."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from lightning_mtl.engine.coming import Coming
from lightning_mtl.engine.probing.usage import Learned, learn_usage, merged, shared_names
from lightning_mtl.engine.replay import RandomState, without_trace
from lightning_mtl.engine.task_output import read_output

State = Mapping[str, Sequence[str]]
"""What graphs have shown of the parameters, see `Partition.state`."""


def names_to_move(coming: Coming, learned: State) -> tuple[list[str], State]:
    """The names of the shared parameters that are trained.

    From the partition of the module or its `shared_parameters()`; in the first steps, which have
    neither, from an evaluation of the losses that leaves no trace.

    Args:
        coming: the batch that will be probed.
        learned: what was learned so far.

    Returns:
        The names, and what is known now.
    """
    partition, module = coming.partition, coming.module
    if partition is not None and partition.complete and partition.shared:
        return [partition.names[parameter] for parameter in partition.shared], learned
    named = {parameter: name for name, parameter in module.named_parameters()}
    given = module.shared_parameters()
    if given:
        return _trained(module, [named[p] for p in given if p in named]), learned

    def evaluate() -> Mapping[str, Tensor]:
        with without_trace(module.trainer, module, RandomState.now(module.device)):
            return read_output(type(module).__name__, module.task_losses(coming.batch)).losses

    known = merged(_lists(learned), learn_usage(module, evaluate))
    return _trained(module, shared_names(known)), known


def _trained(module: nn.Module, names: Sequence[str]) -> list[str]:
    """Those that are not frozen, in the order in which a partition has them."""
    known = set(names)
    return [name for name, p in module.named_parameters() if name in known and p.requires_grad]


def _lists(learned: State) -> Learned:
    return {task: list(names) for task, names in learned.items()}
