"""What a checkpoint is compared with before it is restored, and what people are told of it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

NAMED = 3
"""How many entries of a kind are named."""

MEMORY = {"tasks", "tensors", "measured_parameters"}
"""Entries of the state that every weighting saves, and no other callback."""


@contextmanager
def same_network(module: nn.Module, state: Mapping[str, Any]) -> Iterator[None]:
    """A context for loading a state, in which torch's list of all that differs becomes short.

    Args:
        module: that the state is loaded into.
        state: parameters and buffers by their names, as in a checkpoint.

    Raises:
        RuntimeError: instead of torch's, if the state is that of another network.
    """
    try:
        yield
    except RuntimeError as error:
        found = _differences(module, state)
        if not found or "loading state_dict" not in str(error):
            raise
        name = type(module).__name__
        raise RuntimeError(
            f"`{name}` should be the module that the checkpoint was saved with. Found"
            f" {'; '.join(found)}. Build `{name}` with the network, the tasks and the sizes of that"
            " run: a checkpoint holds parameters, not the code and arguments that they belong to."
            " To start a new run from all parameters whose names and shapes agree, load these"
            " yourself by `load_state_dict(..., strict=False)`."
        ) from None


def announce_other_weighting(module: str, weighting: str, checkpoint: dict[str, Any]) -> None:
    """Warn where a run goes on with another weighting than that of the checkpoint.

    Lightning, which warns of every callback that a checkpoint has and a run has not, is left
    nothing to say of the weighting: its state is taken out of the checkpoint.

    Args:
        module: name of the class that is trained.
        weighting: under which name the Trainer saves that of the run; "" without one.
        checkpoint: as Lightning has read it.
    """
    for saved in drop_other_weightings(weighting, checkpoint):
        found = f"`{weighting}`, which starts anew" if weighting else "none, so losses are summed"
        rank_zero_warn(
            f"`{module}` should resume with the weighting of its checkpoint, `{saved}`, to go on"
            f" with what that has learned. Found {found}. Attach `{saved}` with the arguments of"
            " that run to continue it; a change on purpose needs nothing else."
        )


def drop_other_weightings(weighting: str, checkpoint: dict[str, Any]) -> list[str]:
    """Take the states of weightings that are not the run's out of a checkpoint.

    Args:
        weighting: under which name the Trainer saves that of the run; "" without one.
        checkpoint: as Lightning has read it.

    Returns:
        The names of those that were taken out.
    """
    states: dict[str, Any] = checkpoint.get("callbacks", {})
    others = [name for name, state in states.items() if name != weighting and _is_memory(state)]
    for name in others:
        del states[name]
    return others


def _is_memory(state: Any) -> bool:
    return isinstance(state, Mapping) and state.keys() >= MEMORY


def _differences(module: nn.Module, state: Mapping[str, Any]) -> list[str]:
    """How many entries differ, by the way in which they do, with the first of them."""
    expected = module.state_dict()
    shapes = [
        f"`{name}` {tuple(state[name].shape)} instead of {tuple(value.shape)}"
        for name, value in expected.items()
        if isinstance(state.get(name), Tensor)
        and isinstance(value, Tensor)
        and state[name].shape != value.shape
    ]
    missing = [f"`{name}`" for name in expected if name not in state]
    unexpected = [f"`{name}`" for name in state if name not in expected]
    kinds = {
        "that it lacks": missing,
        "that the module does not have": unexpected,
        "of another shape": shapes,
    }
    return [
        f"{_entries(len(names))} {kind}, {_first(names)}" for kind, names in kinds.items() if names
    ]


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"
