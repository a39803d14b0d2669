"""Which of Lightning's strategies leave whole parameters on every rank."""

from typing import Any, NamedTuple

from lightning_mtl.engine.trainer_facts import has_static_graph

FLATTENING = ("FSDPStrategy",)
SHARDING = (*FLATTENING, "DeepSpeedStrategy", "ModelParallelStrategy")


class Reduction(NamedTuple):
    """How a strategy reduces gradients over ranks.

    Attributes:
        finds_unused: whether DDP looks for the parameters that a loss does not reach, and does not
            wait for their gradients.
        static_graph: whether DDP expects one and the same backward pass in every step.
        sharded: whether each rank holds only a part of the parameters, or of their gradients.
        flat: whether parameters are parts of flat ones, see `flattens`.
    """

    finds_unused: bool = False
    static_graph: bool = False
    sharded: bool = False
    flat: bool = False

    @property
    def takes_task_gradients(self) -> bool:
        """Whether gradients may be taken task by task, and written at the end of a window."""
        return not (self.static_graph or self.sharded)


def reduction_of(strategy: Any) -> Reduction:
    """How this strategy reduces gradients. Asked when training runs, as it wraps the model late."""
    model: Any = strategy.model
    return Reduction(
        finds_unused=getattr(model, "find_unused_parameters", False),
        static_graph=getattr(model, "static_graph", False),
        sharded=shards(strategy),
        flat=flattens(strategy),
    )


def shards(strategy: Any) -> bool:
    """Whether each rank holds only a part of the parameters, or of their gradients."""
    return _is_one_of(SHARDING, strategy)


def flattens(strategy: Any) -> bool:
    """Whether parameters are parts of flat ones, as under FSDP1, also on one rank.

    The flat ones are the leaves of the graph, which so shows nothing of the module's parameters;
    and a forward pass puts other tensors in the place of their gradients.
    """
    return _is_one_of(FLATTENING, strategy)


def _is_one_of(names: tuple[str, ...], strategy: Any) -> bool:
    # By name: `pytorch_lightning` has a class of its own for each.
    return any(base.__name__ in names for base in type(strategy).__mro__)


def check_whole_parameters(name: str, strategy: Any, way_out: str | None = None) -> None:
    """Refuse a strategy under which task gradients cannot be looked at.

    Args:
        name: of the callback that looks at them.
        strategy: of the Trainer.
        way_out: the `gradients=` with which it would need none, if there is one.
    """
    probes = f'`{name}(gradients="{way_out}")`, which needs none of them, ' if way_out else ""
    if shards(strategy):
        raise ValueError(
            f"`{name}` should have whole parameters, as it needs the gradient of each task. Found"
            f" `{type(strategy).__name__}`, which shards them. Use {probes}a weighting of the"
            " losses (the README has a table), or a strategy that keeps whole parameters, such as"
            ' `"ddp"`.'
        )


def check_original_parameters(name: str, strategy: Any) -> None:
    """Refuse FSDP with flat parameters, of which nobody can tell which ones are shared.

    Args:
        name: of the weighting that moves the shared parameters.
        strategy: of the Trainer.
    """
    flat = getattr(strategy, "kwargs", {}).get("use_orig_params") is False
    if flat and shards(strategy):
        raise ValueError(
            f"`{name}` should know the parameters of the module. Found"
            f" `{type(strategy).__name__}(use_orig_params=False)`, which replaces them by flat ones"
            " that several tasks may lie in. Leave `use_orig_params` out."
        )


def check_task_gradients(name: str, strategy: Any, way_out: str | None = None) -> None:
    """Refuse a strategy under which gradients cannot be taken and written task by task.

    Args:
        name: of the weighting that does so.
        strategy: of the Trainer.
        way_out: as in `check_whole_parameters`.
    """
    check_whole_parameters(name, strategy, way_out)
    if has_static_graph(strategy):
        raise ValueError(
            f"`{name}` should run several backward passes in a step, one for each task. Found"
            f" `{type(strategy).__name__}(static_graph=True)`, which reduces gradients after the"
            " first of them, so that ranks would drift apart. Leave `static_graph` out, or use a"
            " weighting of the losses (the README has a table)."
        )
